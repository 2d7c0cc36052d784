"""``costlab trace`` and ``costlab top`` tell of the running stack what is so."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from costlab.cli import application
from costlab.seeing import kept_trace
from costlab.stack.chaos import Chaos
from tests.conditions import eventually

pytestmark = pytest.mark.timeout(300)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"


@pytest.fixture
def costlab(stack, monkeypatch):
    """``costlab("trace", "abc")`` as a person at the command line: what it did."""
    for command in ("trace", "top"):
        monkeypatch.setattr(f"costlab.cli.{command}.open_stack", lambda target: stack)
    return lambda *arguments: CliRunner().invoke(application(), arguments)


@pytest.fixture
def chaos(stack):
    made = Chaos(stack)
    yield made
    made.clear()


@pytest.fixture
def asking(client):
    """Somebody who asks for users all the time."""
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            client.get("/api/users/7")

    asker = threading.Thread(target=ask)
    asker.start()
    yield
    enough.set()
    asker.join(30)


def request_id(reply) -> str:
    return reply.headers["X-Request-Id"]


def spans(stack, control, identity: str) -> list[kept_trace.Span]:
    return kept_trace.collect(control, stack.internal_urls(), identity).spans


def order(client) -> tuple[str, int]:
    """Place one; the id of the request and that of the order."""
    reply = client.post("/api/orders", {"user_id": 7, "lines": [{"product_id": 5, "quantity": 1}]})
    assert reply.status == 201
    return request_id(reply), reply.json["id"]


def test_the_trace_of_an_order_goes_from_the_gateway_through_the_job_stream_to_the_worker(
    stack, control, client, costlab
):
    control.set_flags({"tracing.sample": 1})
    identity, number = order(client)
    eventually(lambda: {span.service for span in spans(stack, control, identity)} >= {"gateway", "worker"})
    shown = json.loads(costlab("trace", identity, "--json").stdout)
    assert {span["service"] for span in shown} == {"gateway", "orders", "users", "worker"}
    ids = {span["span_id"] for span in shown}
    assert [span["name"] for span in shown if span["parent_id"] is None] == ["POST /api/orders"]
    assert all(span["parent_id"] in ids for span in shown if span["parent_id"] is not None)
    assert all(span["milliseconds"] >= 0 for span in shown)
    # The trace's own id and that of the job lead to the same.
    for other in (shown[0]["trace_id"], f"order-{number}"):
        assert {span["span_id"] for span in json.loads(costlab("trace", other, "--json").stdout)} == ids
    tree = costlab("trace", identity).stdout
    assert "worker process orders:placed" in " ".join(tree.split())
    assert "orphan" not in tree


def test_a_trace_says_what_flags_the_cache_and_faults_did_to_its_request(stack, control, client, costlab, chaos):
    control.set_flags({"tracing.sample": 1, "gateway.reads": "cache_proxy", "cache.strategy": "ttl"})
    # A cache-proxy whose Redis was away, or late, leaves it alone for a second.
    eventually(lambda: "redis-away" not in client.get("/api/users/4710").headers["Cache-Status"])
    chaos.add({"fault": "errors", "on": "users", "ttl": 60})
    reply = client.get("/api/users/4711")
    assert reply.status == 503
    eventually(lambda: {span.service for span in spans(stack, control, request_id(reply))} >= {"gateway", "users"})
    shown = json.loads(costlab("trace", request_id(reply), "--json").stdout)
    first = {span["service"]: span["attributes"] for span in shown if span["kind"] == "server"}
    assert first["gateway"]["costlab.flag.gateway.reads"] == "cache_proxy"
    assert first["cache-proxy"]["costlab.flag.cache.strategy"] == "ttl"
    [faulty] = [span for span in shown if span["attributes"].get("costlab.fault") == "errors"]
    assert (faulty["service"], faulty["failed"]) == ("users", True)
    outcomes = [(span["service"], span["attributes"].get("costlab.cache.outcome")) for span in shown]
    assert ("cache-proxy", "miss") in outcomes
    words = " ".join(costlab("trace", request_id(reply)).stdout.replace("│", " ").split())
    assert " fault errors" in words
    assert "cache miss" in words
    assert "gateway.reads=cache_proxy" in words


def test_a_span_whose_parent_is_somebody_elses_is_shown_as_an_orphan(stack, control, client, costlab):
    control.set_flags({"tracing.sample": 1})
    client.get("/api/users/7", traceparent=f"00-{TRACE}-{CALLER}-01")
    eventually(lambda: "gateway" in {span.service for span in spans(stack, control, TRACE)})
    done = costlab("trace", TRACE)
    assert f"orphan: its parent {CALLER} is not kept" in " ".join(done.stdout.replace("│", " ").split())


def test_of_a_request_that_was_not_sampled_nothing_is_kept_and_it_says_why(control, client, costlab):
    control.set_flags({"tracing.sample": 0})
    done = costlab("trace", request_id(client.get("/api/users/7")), "--wait", "0")
    assert done.exception.exit_code == 3
    assert "tracing.sample is now 0; to sample everything: costlab flags set tracing.sample=1" in str(done.exception)
    assert costlab("trace", "no id").exception.exit_code == 2


def test_every_instance_of_a_service_is_asked_for_what_it_kept(replicated_stack, replicated_control, replicated_client):
    replicated_control.set_flags({"tracing.sample": 1})

    def instances() -> set[str]:
        asked = [request_id(replicated_client.get(f"/api/users/{user}")) for user in range(1, 10)]
        urls = replicated_stack.internal_urls()
        found = [kept_trace.collect(replicated_control, urls, identity).spans for identity in asked]
        return {span.instance for each in found for span in each}

    # What was asked a moment ago may not be kept yet, which is why it is asked again.
    seen: set[str] = set()
    eventually(lambda: bool(seen.update(instances())) or {"users", "users-2", "users-3"} <= seen, within=60)


def test_top_shows_what_happens_on_the_stack(stack, control, asking, costlab, chaos):
    control.set_flags({"cache.ttl": 77})
    chaos.add({"fault": "latency", "on": "users", "ttl": 60, "parameters": {"ms": 20}})
    view = json.loads(costlab("top", "--once", "--json").stdout)
    [route] = [row for row in view["routes"] if row["service"] == "gateway"]
    assert (route["method"], route["route"], route["error_share"]) == ("GET", "/api/users/{id}", 0)
    assert route["requests_per_second"] > 0
    assert 0.01 <= route["p50"] <= route["p95"] <= route["p99"]
    services = {row["name"]: row for row in view["services"]}
    assert set(services) == {"gateway", "users", "orders", "cache-proxy", "worker", "postgres", "redis"}
    assert all(row["away"] == [] and row["memory_bytes"] > 0 for row in services.values())
    assert services["gateway"]["cpu_cores"] > 0
    assert view["stream_backlog"] >= 0
    assert view["flags"] == {"cache.ttl": 77}
    [fault] = view["faults"]
    assert fault["fault"] == "latency"
    assert 0 < fault["seconds_left"] <= 60
    assert view["cost"]["usd_per_month"] > view["cost"]["idle_usd"] > 0


def test_top_shows_a_service_that_is_away_and_goes_on_with_the_others(stack, asking, costlab, monkeypatch):
    urls = stack.internal_urls() | {"users-9": "http://127.0.0.1:9"}
    monkeypatch.setattr(stack, "internal_urls", lambda: urls)
    done = costlab("top", "--once")
    assert done.exit_code == 0
    assert "users-9 away" in done.stdout
    assert "GET /api/users/{id}" in done.stdout


def test_top_goes_on_until_ctrl_c_and_leaves_the_terminal_as_it_was(stack):
    program = (
        "import sys; from pathlib import Path\n"
        "from costlab.cli import main, top; from costlab.stack import open_stack\n"
        f"stack = open_stack('local', Path({str(stack.folder)!r}), {urlsplit(stack.base_url()).port})\n"
        "top.open_stack = lambda target: stack\n"
        "sys.argv = ['costlab', 'top', '--every', '0.2']; main()"
    )
    ours, theirs = pty.openpty()
    terminal = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"TERM": "xterm"}, **terminal) as command:
        os.close(theirs)
        shown = b""
        try:
            while shown.count(b"USD a month") < 2:
                shown += os.read(ours, 65536)
            command.send_signal(signal.SIGINT)
            with contextlib.suppress(OSError):  # how Linux says that nobody holds the other end any more
                while part := os.read(ours, 65536):
                    shown += part
            assert command.wait(30) == 0
        finally:
            command.kill()  # one that nobody reads any more would never end
    os.close(ours)
    switched_on, switched_off = b"\x1b[?1049h", b"\x1b[?1049l"
    assert shown.count(switched_on) == shown.count(switched_off) == 1
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
