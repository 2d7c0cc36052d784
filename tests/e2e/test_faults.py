"""Every fault inside services has its effect on the running stack: measured from outside, gone when it is over.

Each kind is put on the requests of every service, and on a call to every kind of dependency; the delay, whose size is
easiest to see, on every edge there is.
"""

import contextlib
import functools
import http.client
import itertools
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
from urllib.parse import urlsplit

import psycopg2
import pytest
from typer.testing import CliRunner

from costlab.cli import application
from costlab.failure import Failure
from costlab.service.faults import Registry
from costlab.stack.chaos import Chaos
from tests.conditions import eventually
from tests.e2e.conftest import Client
from tests.e2e.test_effects import total

SERVICES = ("gateway", "users", "orders", "cache-proxy", "worker")
CACHED = {"gateway.reads": "cache_proxy"}
# A way to each edge of each service, and what has to be switched on for it.
EDGES = {
    ("gateway", "users"): ("/api/users/7", {}),
    ("gateway", "orders"): ("/api/products/7", {}),
    ("gateway", "cache-proxy"): ("/api/users/7", CACHED),
    ("gateway", "redis"): ("/api/users/7", {"gateway.rate_limit": "gcra", "gateway.rate_limit_rate": 10000}),
    ("users", "postgres"): ("/api/users/7", {}),
    ("users", "redis"): ("POST user", {}),
    ("orders", "postgres"): ("/api/orders/7", {}),
    ("orders", "users"): ("POST order", {}),
    ("orders", "cache-proxy"): ("POST order", {"orders.user_lookup": "cache_proxy"}),
    ("orders", "redis"): ("POST order", {}),
    ("cache-proxy", "users"): ("/api/users/7", CACHED),
    ("cache-proxy", "orders"): ("/api/products/7", CACHED),
    ("cache-proxy", "redis"): ("/api/users/7", CACHED | {"cache.strategy": "ttl"}),
    ("worker", "postgres"): ("/fulfilments/1", {}),
}
# The requests of each service.
INBOUND = {
    "gateway": ("/api/users/7", {}),
    "users": ("/api/users/7", {}),
    "orders": ("/api/products/7", {}),
    "cache-proxy": ("/api/users/7", CACHED),
    "worker": ("/fulfilments/1", {}),
}
ONE_OF_EACH_KIND = [("gateway", "users"), ("users", "postgres"), ("cache-proxy", "redis")]
PATIENCE_SECONDS = 30
numbers = itertools.count(time.time_ns() // 1_000_000)


@pytest.fixture
def faults(stack, control):
    """``faults(...)`` adds one; none is left when the test ends."""
    chaos = Chaos(stack)

    def add(fault: str, on: str, edge: str = "", **words) -> None:
        parameters = words.pop("parameters", {})
        seed = {"seed": 7} if chaos.registry[fault].seeded else {}
        chaos.add({"fault": fault, "on": on, "edge": edge, "parameters": parameters} | seed | words)

    add.chaos = chaos
    yield add
    if chaos.status():
        chaos.clear()
    assert chaos.status() == []


@pytest.fixture
def ask(stack, client, control):
    """``ask("/api/users/7")``, ``ask("POST order")``: the status and body of one request, whoever answers that path."""

    @functools.cache
    def worker() -> Client:
        port = next(row.port for row in stack.status() if row.name == "worker")
        if port is None:
            pytest.skip("the worker's port is not published here")
        return Client(f"http://127.0.0.1:{port}")

    def one(way: str):
        if way == "POST user":
            return client.post("/api/users", {"name": "A", "email": f"fault-{next(numbers)}@example.com"})
        if way == "POST order":
            return client.post("/api/orders", {"user_id": 1, "lines": [{"product_id": 5, "quantity": 1}]})
        return (client if way.startswith("/api") else worker()).get(way)

    return one


def seconds(ask, way: str, times: int = 4) -> float:
    """The shortest of a few: what the machine is busy with besides does not count."""
    taken = []
    for _ in range(times):
        started = time.monotonic()
        ask(way)
        taken.append(time.monotonic() - started)
    return min(taken)


def lasts(ask, way: str, faults) -> None:
    """The request does not end before the fault does, and then it does."""
    done = threading.Event()
    reply = []

    def go() -> None:
        with contextlib.suppress(OSError):
            reply.append(ask(way))
        done.set()

    thread = threading.Thread(target=go)
    thread.start()
    assert not done.wait(0.3)
    faults.chaos.clear()
    assert done.wait(8)
    thread.join()


# What each fault that meets requests does to one of them: (parameters, check).


def waits(low: float, high: float):
    def check(ask, way, faults, make):
        before = seconds(ask, way)
        make()
        assert seconds(ask, way) >= low
        # A machine that is busy can only add; then it is measured again.
        eventually(lambda: seconds(ask, way) - before <= high, within=PATIENCE_SECONDS)

    return check


def answers_418(ask, way, faults, make):
    make()
    assert ask(way).status == 418


def hangs(ask, way, faults, make):
    make()
    lasts(ask, way, faults)


def breaks(ask, way, faults, make):
    """A client of the service itself sees its connection end; through the gateway that is a 502."""
    make()
    try:
        status = ask(way).status
    except urllib.error.URLError as error:
        status = type(error.reason)
    except ConnectionResetError as error:
        status = type(error)
    assert status in (502, ConnectionResetError, http.client.RemoteDisconnected)


def dribbles(ask, way, faults, make):
    size = len(ask(way).body)
    make()
    assert seconds(ask, way, 1) >= 0.95 * size / 500
    eventually(lambda: seconds(ask, way, 1) <= 1.3 * size / 500 + 0.1, within=PATIENCE_SECONDS)


CHECKS = {
    "latency": ({"ms": 100}, waits(0.1, 0.13)),
    "latency_normal": ({"mean_ms": 100, "sd_ms": 5}, waits(0.07, 0.13)),
    "latency_long_tail": ({"ms": 80, "alpha": 20}, waits(0.08, 0.13)),
    "stall": ({"ms": 80}, waits(0.08, 0.11)),
    "errors": ({"status": 418}, answers_418),
    "hang": ({}, hangs),
    "reset": ({}, breaks),
    "slow_body": ({"bytes_per_second": 500}, dribbles),
}
# Those of a service as a whole have tests of their own below.
WHOLE = {"capacity_cut", "cpu_burn", "memory_leak"}


def test_every_fault_inside_services_has_an_effect_test():
    assert set(CHECKS) | WHOLE == {fault.name for fault in Registry.load() if fault.level == "service"}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("fault", CHECKS)
def test_each_fault_meets_the_requests_of_each_service(faults, ask, control, fault, service):
    way, flags = INBOUND[service]
    control.set_flags(flags) if flags else None
    ask(way)
    parameters, check = CHECKS[fault]
    check(ask, way, faults, lambda: faults(fault, service, rate=1, parameters=parameters))
    faults.chaos.clear()
    assert ask(way).status in (200, 404)


@pytest.mark.parametrize(("service", "edge"), EDGES)
def test_latency_on_each_edge_delays_what_goes_over_it(faults, ask, control, service, edge):
    """50 ms, because the services have as little patience with Redis as they should have. On a busy machine it runs
    out, and for a moment they do without: four requests in a row must be late, not the first four.
    """
    way, flags = EDGES[service, edge]
    control.set_flags(flags) if flags else None
    ask(way)
    faults("latency", service, edge, parameters={"ms": 50})
    eventually(lambda: seconds(ask, way) >= 0.05, within=PATIENCE_SECONDS)
    assert total(control, service, "costlab_faults_injected_total", fault="latency", edge=edge) > 0


def test_latency_is_of_the_size_that_was_asked(faults, ask):
    """Within a tenth: 200 ms for requests of users, for calls of the gateway to it, for its own statements."""
    before = seconds(ask, "/api/users/7", 10)
    for service, edge in (("users", ""), ("gateway", "users"), ("users", "postgres")):
        faults("latency", service, edge, parameters={"ms": 200})
        eventually(lambda: 0.18 <= seconds(ask, "/api/users/7") - before <= 0.22, within=PATIENCE_SECONDS)
        faults.chaos.clear()


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_errors_come_at_the_rate_that_was_asked(stack, faults, ask, rate):
    """Within four standard deviations of 600 requests, however many processes share them: each draws for itself."""
    faults("errors", "users", rate=rate)
    failed = sum(ask("/api/users/7").status == 503 for _ in range(600))
    assert abs(failed - 600 * rate) <= 4 * math.sqrt(600 * rate * (1 - rate))


def workers(stack, service: str) -> int:
    """Processes that serve: gunicorn's master does not."""
    return next(row.processes for row in stack.status() if row.name == service) - 1


def test_errors_of_users_are_those_that_the_seed_says(stack, faults, ask):
    """One client, one process: the same seed fails the same requests."""
    if workers(stack, "users") > 1:
        pytest.skip("several processes share the requests, each with a sequence of its own")

    def statuses() -> list[int]:
        faults("errors", "users", rate=0.5, seed=11)
        found = [ask("/api/users/7").status for _ in range(20)]
        faults.chaos.clear()
        return found

    assert statuses() == statuses()


@pytest.mark.parametrize(("service", "edge"), ONE_OF_EACH_KIND)
@pytest.mark.parametrize("fault", [name for name in CHECKS if name != "latency"])
def test_each_fault_meets_the_calls_to_each_kind_of_dependency(faults, ask, control, fault, service, edge):
    """What a service makes of it is its own affair: that it was met, and is over afterwards, is seen in any case."""
    kind = edge if edge in ("postgres", "redis") else "upstream"
    if kind not in Registry.load()[fault].at:
        with pytest.raises(Failure, match=f"{fault} does not fit edge {edge}"):
            faults(fault, service, edge)
        return
    way, flags = EDGES[service, edge]
    control.set_flags(flags) if flags else None
    parameters, _ = CHECKS[fault]
    before = total(control, service, "costlab_faults_injected_total", fault=fault, edge=edge)
    known = Registry.load()[fault].parameters_at(kind)
    faults(
        fault, service, edge, rate=1, parameters={name: value for name, value in parameters.items() if name in known}
    )
    if (fault, kind) in {("hang", "upstream"), ("hang", "postgres")}:
        lasts(ask, way, faults)
    else:
        statuses = {"errors": {"upstream": 418, "postgres": 500}, "reset": {"upstream": 502, "postgres": 503}}
        assert ask(way).status == statuses.get(fault, {}).get(kind, 200)
    # Who has just met a Redis that was away leaves it alone for a moment.
    eventually(
        lambda: ask(way) and total(control, service, "costlab_faults_injected_total", fault=fault, edge=edge) > before
    )
    faults.chaos.clear()
    eventually(lambda: ask(way).status == 200)


def test_faults_of_the_workers_redis_hold_up_jobs_that_are_done_when_they_end(stack, faults, ask, control):
    faults("reset", "worker", "redis")
    order = ask("POST order").json["id"]
    eventually(lambda: total(control, "worker", "costlab_faults_injected_total", fault="reset", edge="redis") > 0)
    faults.chaos.clear()
    eventually(lambda: processed(stack, order) == 1, within=PATIENCE_SECONDS)


def processed(stack, order: int) -> int:
    with contextlib.closing(psycopg2.connect(stack.dsn("postgres"))) as database, database.cursor() as cursor:
        cursor.execute("select count(*) from worker.fulfilments where order_id = %s", [order])
        return cursor.fetchone()[0]


# A service as a whole


def test_a_capacity_cut_leaves_a_quarter_of_the_slots(faults, ask, control):
    """4 slots of 200 ms, 4 requests at once: one turn of 200 ms, and with 1 slot left at least two."""

    def four() -> float:
        started = time.monotonic()
        threads = [threading.Thread(target=ask, args=["/api/users/7"]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.monotonic() - started

    with pytest.raises(Failure, match=r"switch it on first: costlab flags set users\.slots=8"):
        faults("capacity_cut", "users")
    with pytest.raises(Failure, match="gateway has no slot pool"):
        faults("capacity_cut", "gateway")
    control.set_flags({"users.slots": 4, "users.slot_ms": 200})
    eventually(lambda: four() < 0.39, within=PATIENCE_SECONDS)
    faults("capacity_cut", "users", parameters={"share": 0.75})
    assert four() >= 0.39
    faults.chaos.clear()
    eventually(lambda: four() < 0.39, within=PATIENCE_SECONDS)


def test_cpu_burns_in_each_service(stack, faults):
    """An idle service takes about 2 % of a core."""
    before = stack.usage()
    started = time.monotonic()
    for service in SERVICES:
        faults("cpu_burn", service, parameters={"threads": 1, "share": 0.3})

    def burned() -> dict[str, float]:
        now = stack.usage()
        return {service: now[service].cpu_seconds - before[service].cpu_seconds for service in SERVICES}

    eventually(lambda: min(burned().values()) > 0.3, within=PATIENCE_SECONDS)
    faults.chaos.clear()
    elapsed = time.monotonic() - started
    processes = {row.name: row.processes for row in stack.status()}
    for service, used in burned().items():
        assert used <= 0.3 * elapsed * processes[service] + 0.2 * elapsed + 0.5


def test_memory_leaks_in_each_service_up_to_its_cap_and_comes_back(stack, faults):
    before = stack.usage()
    for service in SERVICES:
        faults("memory_leak", service, parameters={"mib_per_second": 200, "cap_mib": 30})

    def grown() -> dict[str, float]:
        now = stack.usage()
        return {name: (now[name].memory_bytes - before[name].memory_bytes) / 1024 / 1024 for name in SERVICES}

    eventually(lambda: min(grown().values()) > 27, within=PATIENCE_SECONDS)
    processes = {row.name: row.processes for row in stack.status()}
    assert all(more < 30 * processes[name] + 10 for name, more in grown().items())
    faults.chaos.clear()
    eventually(lambda: max(grown().values()) < 15, within=PATIENCE_SECONDS)


# Adding, ending, refusing, seeing


def test_a_fault_ends_at_its_time_though_the_command_was_killed(stack, faults, ask):
    def failing() -> bool:
        return ask("/api/users/7").status == 503

    words = ["chaos", "add", "errors", "--on", "users", "--for", "3s", "--target", stack.name]
    urls = stack.internal_urls()
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    program = f"""
import sys
from costlab.stack import chaos
from costlab import cli
class Found:
    internal_urls = lambda self: {urls!r}
    token = lambda self: {stack.token()!r}
import costlab.cli.chaos
from costlab.stack.service_faults import ServiceFaults
chaos.LEVELS = {{"service": ServiceFaults}}
costlab.cli.chaos.open_stack = lambda target: Found()
sys.argv = ["costlab", *{words!r}]
try:
    cli.main()
finally:
    import time
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE) as command:
        assert b"in force" in command.stdout.readline()
        command.send_signal(signal.SIGKILL)
    assert failing()
    [record] = faults.chaos.status()
    assert 0 < record.left(time.time()) <= 3
    eventually(lambda: not failing(), within=8)
    assert time.time() >= record.until - 0.05
    assert faults.chaos.status() == []


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"fault": "latency", "on": "nobody"}, "there is no service 'nobody'; there are: .*users"),
        ({"fault": "latency", "on": "gateway", "edge": "postgres"}, "gateway has no edge 'postgres'; it has: .*users"),
        ({"fault": "latency", "on": "users", "edge": "orders"}, "users has no edge 'orders'; it has: .*postgres"),
        ({"fault": "latency", "on": "users", "route": "/nowhere"}, "users has no route '/nowhere'; it has: .*/users/"),
        ({"fault": "latency", "on": "gateway", "route": "/users/{id}"}, "it has: /api/orders, .*/api/users/{id}"),
        ({"fault": "slow", "on": "users"}, "there is no fault 'slow'; there are: latency"),
        ({"fault": "latency", "on": "users", "parameters": {"ms": 0}}, "ms cannot be 0; allowed: 1 to 60000"),
        ({"fault": "latency", "on": "users", "ttl": 7200}, "ttl cannot be 7200; allowed: 1 to 3600"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(stack, document, says):
    with pytest.raises(Failure, match=says) as refused:
        Chaos(stack).add(document)
    assert "\n" not in str(refused.value)
    assert Chaos(stack).status() == []


def test_a_route_of_the_gateway_is_met_alone(faults, ask):
    faults("errors", "gateway", route="/api/users/{id}", parameters={"status": 418})
    assert ask("/api/users/7").status == 418
    assert ask("/api/products/7").status == 200


def test_what_is_active_is_shown_everywhere(stack, faults, control, monkeypatch):
    for module in ("costlab.cli.chaos", "costlab.cli.stack"):
        monkeypatch.setattr(f"{module}.open_stack", lambda target, **more: stack)
    run = functools.partial(CliRunner().invoke, application())
    done = run(["chaos", "add", "latency", "ms=5", "--on", "users", "--rate", ".3", "--seed", "9", "--for", "1m"])
    assert "latency on users, rate 0.3, ms=5, seed 9   60 s left" in done.output, done.output
    [shown] = json.loads(run(["chaos", "status", "--json"]).output)
    assert (shown["fault"], shown["on"], shown["rate"], shown["seed"]) == ("latency", "users", 0.3, 9)
    assert 50 < shown["seconds_left"] <= 60
    assert "chaos: latency on users, rate 0.3, ms=5" in run(["status"]).output.replace("\n", " ")
    assert total(control, "users", "costlab_faults_active", fault="latency", edge="") == 1
    assert run(["chaos", "clear", "00000000"]).exit_code != 0
    assert run(["chaos", "clear", shown["id"]]).output == "1 fault ended\n"
    assert "no fault is active" in run(["chaos", "status"]).output
    assert total(control, "users", "costlab_faults_active", fault="latency", edge="") == 0


def test_a_timeline_is_played_and_nothing_is_left(stack, faults, ask, tmp_path, monkeypatch):
    monkeypatch.setattr("costlab.cli.chaos.open_stack", lambda target, **more: stack)
    script = tmp_path / "script.toml"
    table = '[[faults]]\nat = {at}\nseconds = 1\nfault = "errors"\non = "{on}"\nseed = 7\n'
    table += "parameters = {{ status = 418 }}\n"
    script.write_text(table.format(at=0.2, on="orders") + table.format(at=0.1, on="users"))
    done = CliRunner().invoke(application(), ["chaos", "play", str(script)])
    assert done.exit_code == 0, done.output
    said = [line.split("  ")[-1] for line in done.output.splitlines()]
    assert said == [*(f"errors on {on}, status=418, seed 7, for 1 s" for on in ("users", "orders")), "over"]
    assert faults.chaos.status() == []
    assert ask("/api/users/7").status == ask("/api/products/7").status == 200


# For one request


def test_a_request_with_the_token_has_a_fault_of_its_own_where_it_says(stack, client):
    mine = {"X-Costlab-Token": stack.token(), "X-Costlab-Fault": "errors;status=418;on=users"}
    reply = client.get("/api/users/7", **mine)
    assert (reply.status, reply.headers["X-Costlab-Fault"]) == (418, "errors")
    assert client.get("/api/users/7").status == 200
    elsewhere = client.get("/api/products/7", **mine)
    assert (elsewhere.status, elsewhere.headers["X-Costlab-Fault"]) == (200, None)
    started = time.monotonic()
    assert client.get("/api/users/7", **mine | {"X-Costlab-Fault": "latency;ms=150"}).status == 200
    assert time.monotonic() - started >= 0.15


@pytest.mark.parametrize(
    ("token", "value", "status"),
    [("wrong", "latency", 403), ("", "latency", 403), (None, "latency;on=nobody", 400), (None, "latency;ms=x", 400)],
)
def test_it_is_refused_without_the_token_and_with_words_that_mean_nothing(stack, client, token, value, status):
    given = {"X-Costlab-Token": stack.token() if token is None else token, "X-Costlab-Fault": value}
    assert client.get("/api/users/7", **given).status == status


def test_a_faulty_answer_is_not_kept_by_the_cache(stack, client, control):
    control.set_flags(CACHED | {"cache.strategy": "ttl"})
    mine = {"X-Costlab-Token": stack.token(), "X-Costlab-Fault": "latency;ms=10;on=users"}
    assert client.get("/api/users/4711", **mine).headers["X-Costlab-Fault"] == "latency"
    after = client.get("/api/users/4711")
    assert after.headers["X-Costlab-Fault"] is None
    assert "hit" not in after.headers["Cache-Status"]


def test_a_reset_is_a_rst(stack, faults):
    """Seen by a bare socket: no answer, no end of file, an error."""
    faults("reset", "gateway")
    address = urlsplit(stack.base_url())
    with socket.create_connection((address.hostname, address.port), timeout=5) as link:
        link.sendall(b"GET /api/users/7 HTTP/1.1\r\nHost: a\r\n\r\n")
        if stack.name == "compose":  # Docker's proxy in front of a published port ends connections in its own way
            with contextlib.suppress(ConnectionResetError):
                assert link.recv(1) == b""
        else:
            with pytest.raises(ConnectionResetError):
                link.recv(1)
