"""Processes killed, terminated, restarted and paused, PostgreSQL and Redis included: seen from outside, over by itself,
and nothing accepted is lost.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import psutil
import psycopg2
import pytest
from typer.testing import CliRunner

from costlab.cli import application
from costlab.failure import Failure
from costlab.stack.chaos import Chaos, ChaosError
from costlab.stack.control import Control
from costlab.stack.process_faults import ProcessFaults
from tests.conditions import eventually
from tests.e2e.orders import Shopper, assert_processed_exactly_once, newest_order
from tests.e2e.test_effects import total

pytestmark = pytest.mark.long

SERVICES = ("gateway", "users", "orders", "cache-proxy", "worker", "postgres", "redis")
# What a client that is not ours says to a server of each kind, to get any answer at all.
GREETINGS = {"postgres": b"\x00\x00\x00\x08\x04\xd2\x16\x2f", "redis": b"PING\r\n"}
HTTP = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture
def chaos(stack):
    """No fault is left, and everything is healthy, when the test ends."""
    broken = Chaos(stack)
    yield broken
    broken.clear()
    eventually(lambda: all(row.healthy for row in stack.status()), within=90)


def port_of(stack, service):
    if service in ("postgres", "redis"):
        return urlsplit(stack.dsn() if service == "postgres" else stack.redis_url()).port
    return urlsplit(stack.internal_urls()[service]).port


def answers(stack, service, within=0.5):
    """Whether whoever connects gets a single byte. What is killed refuses, what is paused does not."""
    with socket.create_connection(("127.0.0.1", port_of(stack, service)), within) as connection:
        connection.sendall(GREETINGS.get(service, HTTP))
        connection.settimeout(within)
        try:
            return len(connection.recv(1)) == 1
        except TimeoutError:
            return False


def pids(stack):
    return {row.name: row.pid for row in stack.status() if row.name in SERVICES}


@pytest.mark.parametrize("service", SERVICES)
def test_a_paused_service_takes_connections_and_says_nothing_until_it_is_cleared(stack, chaos, service):
    eventually(lambda: answers(stack, service, within=5), within=20)
    record = chaos.add({"fault": "pause", "on": service, "ttl": 60})
    assert not answers(stack, service)
    assert [(found.fault, found.on) for found in ProcessFaults(stack).active()] == [("pause", service)]
    chaos.remove(record.id)
    assert answers(stack, service, within=10)


def test_a_pause_ends_at_its_time_after_kill_9_of_the_command_that_set_it(stack, chaos):
    """The command, and whatever shared its terminal, is killed while users stands still."""
    script = (
        "import os, signal, sys; from pathlib import Path; from costlab.stack import open_stack\n"
        "from costlab.stack.chaos import Chaos\n"
        f"Chaos(open_stack('local', Path({str(stack.folder)!r}))).add({{'fault': 'pause', 'on': 'users', 'ttl': 3}})\n"
        "print('paused', flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as command:
        assert command.stdout.readline() == "paused\n"
        os.killpg(command.pid, signal.SIGKILL)
    assert not answers(stack, "users")
    assert [record.on for record in chaos.status()] == ["users"]
    eventually(lambda: answers(stack, "users"), within=20)
    eventually(lambda: chaos.status() == [])


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", ["kill", "terminate", "restart"])
def test_every_service_comes_back_and_every_accepted_order_survives(stack, client, chaos, fault):
    """All seven are hit while orders come in; each has a successor, and each order accepted is processed once."""
    newest, before = newest_order(stack), pids(stack)
    shopper, enough = Shopper(client), threading.Event()
    shopping = threading.Thread(target=shopper.place_until, args=(enough,))
    shopping.start()
    try:
        eventually(lambda: len(shopper.accepted) > 5, within=30)
        for service in SERVICES:
            chaos.add({"fault": fault, "on": service})
        eventually(lambda: all(before[name] != pid for name, pid in pids(stack).items() if pid), within=90)
        eventually(lambda: all(row.healthy for row in stack.status()), within=120)
        accepted = len(shopper.accepted)
        eventually(lambda: len(shopper.accepted) > accepted, within=60)
    finally:
        enough.set()
        shopping.join(160)
    assert not shopping.is_alive()
    assert not {name for name, pid in pids(stack).items() if pid == before[name]}
    assert_processed_exactly_once(stack, shopper, newest)


def test_postgres_recovers_when_only_its_first_process_is_killed(stack, chaos):
    """Its children and its shared memory outlive it for a moment, and the next one has to wait for them."""
    before = pids(stack)["postgres"]
    children = psutil.Process(before).children()
    os.kill(before, signal.SIGKILL)
    eventually(lambda: pids(stack)["postgres"] not in (before, None), within=30)
    eventually(lambda: selects(stack), within=30)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert any("not properly shut down; automatic recovery" in line for line in stack.logs("postgres", False))


def test_who_waits_for_a_killed_service_gets_the_seconds_it_was_away(stack, chaos):
    before = pids(stack)["redis"]
    assert 0 < chaos.kill("redis") < 60
    assert pids(stack)["redis"] != before
    assert answers(stack, "redis", within=5)


def test_a_service_killed_while_it_is_paused_comes_back_and_is_not_paused(stack, chaos):
    chaos.add({"fault": "pause", "on": "cache-proxy", "ttl": 60})
    chaos.kill("cache-proxy")
    assert answers(stack, "cache-proxy", within=5)
    assert chaos.status() == []


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"fault": "pause", "on": "nobody"}, "no service 'nobody'; there are"),
        ({"fault": "pause", "on": "users", "edge": "postgres"}, "pause does not fit edge postgres"),
        ({"fault": "pause", "on": "users", "rate": 0.5}, "pause has no rate"),
        ({"fault": "kill", "on": "users", "seed": 7}, "kill takes no seed"),
        ({"fault": "kill", "on": "users", "parameters": {"signal": 9}}, "has no parameter 'signal'"),
        ({"fault": "pause", "on": "users", "ttl": 3601}, "ttl cannot be 3601"),
        ({"fault": "wire_down", "on": "orders", "edge": "postgres"}, "calls on this stack do not go through toxiproxy"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(stack, chaos, wish, reason):
    before = pids(stack)
    with pytest.raises(Failure, match=reason):
        chaos.add(wish)
    assert chaos.status() == []
    assert pids(stack) == before


def test_a_second_pause_is_refused_and_the_first_one_named(stack, chaos):
    first = chaos.add({"fault": "pause", "on": "worker", "ttl": 60})
    with pytest.raises(
        ChaosError, match=rf"worker is paused already, for another \d+ s; costlab chaos clear {first.id}"
    ):
        chaos.add({"fault": "pause", "on": "worker", "ttl": 60})


def test_restart_does_not_wait_for_a_pause(stack, chaos):
    chaos.add({"fault": "pause", "on": "users", "ttl": 60})
    started = time.monotonic()
    stack.restart("users")
    assert time.monotonic() - started < 25, "a paused process stops by force only, after 25 s"
    assert answers(stack, "users", within=5)
    assert chaos.status() == []


def test_all_instances_of_a_service_are_met_and_one_alone_by_its_number(replicated_stack, replicated_control):
    users, faults = ("users", "users-2", "users-3"), Chaos(replicated_stack)

    def silent():
        return [name for name in users if not answers(replicated_stack, name)]

    eventually(lambda: silent() == [])
    for on, met in (("users-1", ["users"]), ("users", list(users))):
        record = faults.add({"fault": "pause", "on": on, "ttl": 60})
        assert silent() == met
        faults.remove(record.id)
        eventually(lambda: silent() == [])
    before = {row.name: row.pid for row in replicated_stack.status()}
    faults.add({"fault": "pause", "on": "users", "ttl": 60})
    assert faults.kill("users") > 0
    assert silent() == []
    assert not [row.name for row in replicated_stack.status() if row.name in users and row.pid == before[row.name]]
    assert faults.status() == []


@pytest.fixture
def costlab(stack, monkeypatch):
    """``costlab("chaos", "kill", "users")``: as a person types it, on this stack."""
    monkeypatch.setattr("costlab.cli.chaos.open_stack", lambda _target: stack)
    return lambda *words: CliRunner().invoke(application(), words)


def test_pause_says_for_how_long_and_status_shows_it(stack, chaos, costlab):
    said = costlab("chaos", "pause", "worker", "--for", "40s")
    assert re.match(r"paused: [0-9a-f]{8}  pause on worker.* (40|39) s left", said.output)
    assert re.search(r"pause on worker.* [1-4]\d s left", costlab("chaos", "status").output)
    assert costlab("chaos", "clear").output == "1 fault ended\n"
    assert answers(stack, "worker", within=10)


def test_kill_says_when_the_service_is_back_and_terminate_that_it_will_be(stack, chaos, costlab):
    before = pids(stack)
    killed = costlab("chaos", "kill", "redis", "--wait")
    assert re.fullmatch(r"redis was killed, and back after \d+\.\d s\n", killed.output)
    told = costlab("chaos", "kill", "users", "--signal", "TERM")
    assert told.output == "users got SIGTERM; it is started again by itself\n"
    eventually(lambda: pids(stack)["users"] not in (before["users"], None), within=60)
    assert costlab("chaos", "restart", "worker").output == "worker was restarted and is ready\n"
    assert not {name for name in ("redis", "worker") if pids(stack)[name] == before[name]}


def selects(stack):
    try:
        psycopg2.connect(stack.dsn("postgres"), connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def test_what_is_paused_shows_in_the_gateways_metrics_although_it_is_redis(stack, control, chaos):
    gateway = Control({"gateway": stack.internal_urls()["gateway"]}, stack.token())

    def shown() -> float:
        return total(gateway, "gateway", "costlab_faults_active", fault="pause", target="redis", edge="")

    made = chaos.add({"fault": "pause", "on": "redis", "ttl": 30})
    eventually(lambda: shown() == 1)
    chaos.remove(made.id)
    eventually(lambda: shown() == 0)
