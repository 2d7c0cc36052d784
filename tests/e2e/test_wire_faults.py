"""Faults on the wire, seen by clients that are not ours: psycopg2, redis-py, urllib and bare sockets.

They connect at toxiproxy's own ports. Each edge has one of its own, and a toxic meets that edge only.
"""

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil
import psycopg2
import pytest
import redis

from costlab.stack import StackError, binaries, open_stack, ports
from costlab.stack.chaos import Chaos, ChaosError
from tests.conditions import eventually
from tests.e2e.conftest import Client

pytestmark = pytest.mark.long

try:
    binaries.toxiproxy()
except StackError as missing:
    pytest.skip(str(missing), allow_module_level=True)

BYTES = 20_000
EDGE = {"on": "users", "edge": "redis"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """With toxiproxy in between."""
    base = ports.keep_base()
    running = open_stack("local", tmp_path_factory.mktemp("wire"), base, through_toxiproxy=True)
    running.up(lambda line: None)
    with redis.Redis.from_url(running.redis_url()) as direct:
        direct.set("wire", b"x" * BYTES)
    yield running
    running.down(volumes=True)


@pytest.fixture
def chaos(stack):
    """No fault is left when the test ends."""
    broken = Chaos(stack)
    yield broken
    broken.clear()
    eventually(lambda: all(row.healthy for row in stack.status()), within=60)


@pytest.fixture
def client(stack):
    return Client(stack.base_url())


def port(stack, edge):
    """Where toxiproxy listens for the calls of ``edge``, as it was told."""
    proxies = json.loads((stack.folder / "toxiproxy" / "proxies.json").read_text())
    return next(int(proxy["listen"].rpartition(":")[2]) for proxy in proxies if proxy["name"] == edge)


def connect(stack, edge="users.redis", seconds=5.0):
    return socket.create_connection(("127.0.0.1", port(stack, edge)), seconds)


def through_redis(stack, edge="users.redis"):
    return redis.Redis(port=port(stack, edge), socket_timeout=5, retry=None)


def milliseconds(ask, times=15, of=statistics.median):
    """The median of ``times`` times. ``of=min``: the time least disturbed by whatever else this machine does."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - started) * 1000)
    return of(taken)


def read_whole(connection):
    """What Redis answers to GET, in the pieces in which it arrives, until it is all there or the connection ends."""
    connection.sendall(b"GET wire\r\n")
    pieces, wanted = [], BYTES + len(f"${BYTES}\r\n\r\n")
    while sum(map(len, pieces)) < wanted and (piece := connection.recv(65536)):
        pieces.append(piece)
    return pieces


@pytest.mark.parametrize("stream", ["downstream", "upstream"])
def test_latency_is_what_was_asked_for_within_a_tenth_and_on_one_edge_only(stack, chaos, stream):
    with contextlib.closing(psycopg2.connect(postgres_at(stack, "orders.postgres"))) as met:
        met.autocommit = True
        with contextlib.closing(psycopg2.connect(postgres_at(stack, "worker.postgres"))) as spared:
            spared.autocommit = True
            before = milliseconds(lambda: select(met), of=min)
            chaos.add(
                {
                    "fault": "wire_latency",
                    "on": "orders",
                    "edge": "postgres",
                    "parameters": {"ms": 100, "stream": stream},
                }
            )
            assert milliseconds(lambda: select(met), of=min) - before == pytest.approx(100, rel=0.1)
            assert milliseconds(lambda: select(spared), of=min) < 50
            chaos.clear()
            assert milliseconds(lambda: select(met), of=min) < 50


def test_jitter_spreads_the_latency_over_its_range(stack, chaos):
    chaos.add({"fault": "wire_latency", **EDGE, "parameters": {"ms": 40, "jitter_ms": 30}})
    with through_redis(stack) as link:
        taken = [milliseconds(link.ping, 1) for _ in range(30)]
    assert min(taken) > 9
    assert 25 < statistics.median(taken) < 100
    assert max(taken) - min(taken) > 20


def test_requests_of_others_get_slower_too(stack, chaos):
    """Not ours alone: whoever asks the gateway for a user waits for the wire between gateway and users."""
    chaos.add({"fault": "wire_latency", "on": "gateway", "edge": "users", "parameters": {"ms": 150}})
    client = Client(stack.base_url())
    assert 150 < milliseconds(lambda: client.get("/api/users/1"), 5, min) < 600
    with urllib.request.urlopen(f"http://127.0.0.1:{port(stack, 'gateway.users')}/users/1", timeout=5) as answer:
        assert answer.status == 200


def test_bandwidth_bounds_what_comes_through(stack, chaos):
    chaos.add({"fault": "wire_bandwidth", **EDGE, "parameters": {"kb_per_second": 40}})
    with connect(stack) as connection:
        started = time.perf_counter()
        assert len(b"".join(read_whole(connection))) > BYTES
        assert 0.4 < time.perf_counter() - started < 5


def test_timeout_lets_nothing_through_and_closes_when_it_ends(stack, chaos):
    record = chaos.add({"fault": "wire_timeout", **EDGE})
    with connect(stack, seconds=0.3) as connection:
        connection.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        chaos.remove(record.id)
        connection.settimeout(5)
        assert connection.recv(1) == b""
    with through_redis(stack) as link:
        assert link.ping()


def test_reset_peer_ends_a_connection_with_rst(stack, chaos):
    chaos.add({"fault": "wire_reset_peer", **EDGE})
    with connect(stack) as connection:
        connection.sendall(b"PING\r\n")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_slicer_cuts_data_into_pieces(stack, chaos):
    with connect(stack) as connection:
        whole = read_whole(connection)
    chaos.add({"fault": "wire_slicer", **EDGE, "parameters": {"bytes": 1000, "delay_us": 3000}})
    with connect(stack) as connection:
        sliced = read_whole(connection)
    assert b"".join(sliced) == b"".join(whole)
    assert len(sliced) > 10 > len(whole)
    assert max(map(len, sliced)) < BYTES / 2


def test_limit_data_ends_a_connection_after_exactly_so_many_bytes(stack, chaos):
    chaos.add({"fault": "wire_limit_data", **EDGE, "parameters": {"bytes": 1234}})
    with connect(stack) as connection:
        assert len(b"".join(read_whole(connection))) == 1234


def test_down_refuses_connections_of_one_edge_and_comes_back(stack, chaos, client):
    record = chaos.add({"fault": "wire_down", "on": "users", "edge": "postgres"})
    with pytest.raises(ConnectionRefusedError):
        connect(stack, "users.postgres")
    with connect(stack, "orders.postgres"):
        assert client.get("/api/users/7").status >= 500
    with pytest.raises(ChaosError, match=f"cut off from postgres already; costlab chaos clear {record.id}"):
        chaos.add({"fault": "wire_down", "on": "users", "edge": "postgres"})
    chaos.remove(record.id)
    eventually(lambda: client.get("/api/users/7").status == 200, within=20)


def test_the_rate_is_the_share_of_connections_that_a_toxic_meets(stack, chaos):
    """40 of 80 expected; outside 22 to 58 chance comes once in 20,000 times."""
    chaos.add({"fault": "wire_limit_data", **EDGE, "rate": 0.5, "parameters": {"bytes": 1}})
    met = 0
    for _ in range(80):
        with connect(stack) as connection:
            connection.sendall(b"PING\r\n")
            met += connection.recv(1) == b"+" and connection.recv(1) == b""
    assert 22 <= met <= 58


def test_a_toxic_ends_at_its_time_after_kill_9_of_the_command_that_set_it(stack, chaos):
    script = (
        "import signal; from pathlib import Path; from costlab.stack import open_stack\n"
        "from costlab.stack.chaos import Chaos\n"
        f"Chaos(open_stack('local', Path({str(stack.folder)!r}))).add("
        f"{{'fault': 'wire_timeout', 'on': 'users', 'edge': 'redis', 'ttl': 2}})\n"
        "print('made', flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as command:
        assert command.stdout.readline() == "made\n"
        os.killpg(command.pid, signal.SIGKILL)
    assert [record.fault for record in chaos.status()] == ["wire_timeout"]
    eventually(lambda: pings(stack), within=20)
    eventually(lambda: chaos.status() == [])


def test_toxics_die_with_toxiproxy_and_its_proxies_do_not(stack, chaos):
    chaos.add({"fault": "wire_timeout", **EDGE, "ttl": 600})
    chaos.add({"fault": "wire_down", "on": "users", "edge": "postgres", "ttl": 600})
    chaos.kill("toxiproxy")
    eventually(lambda: pings(stack), within=20)
    connect(stack, "users.postgres").close()
    assert chaos.status() == []
    assert list(stack.faults_folder.glob("*.json")) == []


def test_clear_ends_what_somebody_told_toxiproxy_past_us_too(stack, chaos):
    toxic = json.dumps({"type": "timeout", "attributes": {"timeout": 0}}).encode()
    urllib.request.urlopen(f"{stack.toxiproxy_url()}/proxies/users.redis/toxics", toxic, timeout=5).close()
    assert not pings(stack)
    chaos.clear()
    assert pings(stack)


def test_toxiproxy_is_on_loopback_only(stack):
    found = {(link.laddr.ip, link.laddr.port) for link in listening(stack)}
    assert {address for address, _ in found} == {"127.0.0.1"}
    assert len(found) == 1 + len(json.loads((stack.folder / "toxiproxy" / "proxies.json").read_text()))


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (
            {"fault": "wire_down", "on": "gateway", "edge": "postgres"},
            "gateway does not call postgres; its edges: redis",
        ),
        ({"fault": "wire_down", "on": "postgres", "edge": "redis"}, "postgres calls nobody through toxiproxy"),
        ({"fault": "wire_latency", "on": "users"}, "wire_latency does not fit requests that come in"),
        ({"fault": "wire_latency", **EDGE, "seed": 1}, "wire_latency takes no seed: chance is drawn inside toxiproxy"),
        ({"fault": "wire_latency", **EDGE, "parameters": {"ms": 0}}, "ms cannot be 0; allowed: 1 to 60000"),
        ({"fault": "wire_latency", **EDGE, "parameters": {"latency": 1}}, "has no parameter 'latency'"),
        ({"fault": "wire_slicer", **EDGE, "parameters": {"bytes": 9, "variation": 9}}, "variation cannot be 9"),
        ({"fault": "wire_down", **EDGE, "rate": 0.5}, "wire_down has no rate"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(chaos, wish, reason):
    with pytest.raises(ChaosError, match=reason):
        chaos.add(wish)
    assert chaos.status() == []


def postgres_at(stack, edge):
    host, _, rest = stack.dsn("postgres").partition("@127.0.0.1:")
    return f"{host}@127.0.0.1:{port(stack, edge)}/{rest.partition('/')[2]}"


def select(database):
    with database.cursor() as cursor:
        cursor.execute("select 1")


def pings(stack):
    with contextlib.suppress(OSError), connect(stack, seconds=0.3) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(1) == b"+"
    return False


def listening(stack):
    pid = next(row.pid for row in stack.status() if row.name == "toxiproxy")
    return [link for link in psutil.Process(pid).net_connections("tcp") if link.status == psutil.CONN_LISTEN]
