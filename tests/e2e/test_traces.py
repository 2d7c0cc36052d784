"""One connected trace for each request, with the right span above each: a table of edges, walked for every route.

In the ordinary suite the spans go to a stand-in collector; `make test-traces` walks the same table in what a real
Jaeger answers, on a stack that brought it along.
"""

import json
import os
import secrets
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from costlab.stack import binaries, open_stack, ports
from costlab.stack.chaos import Chaos
from costlab.stack.control import Control
from gateway import routes
from tests.conditions import eventually
from tests.e2e.conftest import Client

# Spans leave each process every second; on a busy machine, late.
WITHIN = 60.0
pytestmark = pytest.mark.timeout(300)

Edges = set[tuple[str, str]]
GROUPS = Callable[[str], list[dict]]


@dataclass(frozen=True)
class Case:
    """A request, what is so meanwhile, and its trace: ``edges`` are (the span above, the span), "service: name" each.

    ``linked``: how many spans are linked to the first attempt, and as what. ``tells``: attributes of its first span.
    """

    route: str
    method: str
    target: str
    edges: Edges
    flags: dict = field(default_factory=dict)
    body: dict | None = None
    fault: dict | None = None
    linked: tuple[str, int] | None = None
    tells: dict = field(default_factory=dict)


def line(*spans: str) -> Edges:
    """Each above the next."""
    return set(pairwise(spans))


# What other tests left in the cache is too old: each is a miss.
CACHED = {"gateway.reads": "cache_proxy", "cache.strategy": "ttl", "cache.ttl": 0.1}
_USERS, _ORDERS = "users: postgres query", "orders: postgres query"
READS = [
    # route of the gateway, target, who owns it, its route there, what the owner asks
    ("/api/users", "/api/users?ids=1,2", "users", "/users", [_USERS]),
    ("/api/users/{id}", "/api/users/7", "users", "/users/<int:user_id>", [_USERS]),
    (
        "/api/users/{id}/orders",
        "/api/users/7/orders",
        "orders",
        "/users/<int:user_id>/orders",
        [_ORDERS],
    ),
    ("/api/products/{id}", "/api/products/7", "orders", "/products/<int:product_id>", []),
    ("/api/orders/stats", "/api/orders/stats", "orders", "/orders/stats", [_ORDERS]),
    ("/api/orders/stats/totals", "/api/orders/stats/totals", "orders", "/orders/stats/totals", [_ORDERS]),
    ("/api/orders/{id}", "/api/orders/7", "orders", "/orders/<int:order_id>", [_ORDERS]),
]  # fmt: skip


def direct(route: str, target: str, owner: str, inner: str, below: list[str]) -> Case:
    there = f"{owner}: GET {inner}"
    edges = line(f"gateway: GET {route}", f"gateway: GET {owner}", there) | {(there, one) for one in below}
    return Case(route, "GET", target, edges)


def through_the_cache(route: str, target: str, owner: str, inner: str, below: list[str]) -> Case:
    cache, there = f"cache-proxy: GET {route.removeprefix(routes.PREFIX)}", f"{owner}: GET {inner}"
    edges = line(f"gateway: GET {route}", "gateway: GET cache-proxy", cache, f"cache-proxy: GET {owner}", there)
    edges |= {(cache, f"cache-proxy: redis {command}") for command in ("MGET", "SET")}
    return Case(route, "GET", target, edges | {(there, one) for one in below}, CACHED)


LOOKUP = line("orders: POST /orders", "orders: GET users", "users: GET /users/<int:user_id>", "users: postgres query")
PLACED = (
    line("gateway: POST /api/orders", "gateway: POST orders", "orders: POST /orders", "orders: postgres transaction")
    | LOOKUP
    | line("orders: POST /orders", "orders: redis PUBLISH")
)
WORKED = line("orders: send orders:placed", "worker: process orders:placed", "worker: postgres transaction")
ORDER = {"user_id": 7, "lines": [{"product_id": 7, "quantity": 1}]}
USER_READ = direct(*READS[1]).edges
CASES = {
    **{f"GET {read[0]}, direct": direct(*read) for read in READS},
    **{f"GET {read[0]}, cache_proxy": through_the_cache(*read) for read in READS},
    "POST /api/users": Case(
        "/api/users",
        "POST",
        "/api/users",
        line("gateway: POST /api/users", "gateway: POST users", "users: POST /users", "users: postgres query")
        | line("users: POST /users", "users: redis PUBLISH"),
        body={"name": "Ada", "email": "{unique}@example.com"},
    ),
    "POST /api/stock/{id}/reserve": Case(
        "/api/stock/{id}/reserve",
        "POST",
        "/api/stock/7/reserve",
        line("gateway: POST /api/stock/{id}/reserve", "gateway: POST orders")
        | line("gateway: POST orders", "orders: POST /stock/<int:product_id>/reserve", _ORDERS),
        body={"quantity": 1},
    ),
    "POST /api/orders through outbox and relay into the worker": Case(
        "/api/orders",
        "POST",
        "/api/orders",
        PLACED | WORKED | line("orders: postgres transaction", "orders: send orders:placed"),
        body=ORDER,
    ),
    "POST /api/orders by a dual write into the worker": Case(
        "/api/orders",
        "POST",
        "/api/orders",
        PLACED | WORKED | line("orders: POST /orders", "orders: send orders:placed", "orders: redis XADD"),
        {"orders.publish": "dual_write"},
        body=ORDER,
    ),
    "a call that is retried": Case(
        "/api/users/{id}",
        "GET",
        "/api/users/7",
        line("gateway: GET /api/users/{id}", "gateway: GET users", "users: GET /users/<int:user_id>"),
        {"http.retry": "immediate"},
        fault={"fault": "errors", "on": "users", "rate": 1, "ttl": 120},
        linked=("retry", 2),
        tells={"costlab.flag.http.retry": "immediate"},
    ),
    "a call that is hedged": Case(
        "/api/users/{id}",
        "GET",
        "/api/users/7",
        USER_READ,
        # With a cap of 1 this request itself earns the hedge, whatever others have left in the bucket.
        {
            "gateway.hedge": "fixed",
            "gateway.hedge_ms": 0.1,
            "gateway.hedge_cap": 1,
            "users.slots": 8,
            "users.slot_ms": 50,
        },
        linked=("hedge", 1),
        tells={"costlab.flag.gateway.hedge": "fixed"},
    ),
}


def test_every_route_of_the_gateway_is_in_the_table():
    walked = {(case.route, case.method) for case in CASES.values()}
    there = {(route.label, method) for route in routes.ROUTES for method in route.methods if method != "HEAD"}
    assert walked == there


class Trace:
    """The spans of a trace, from OTLP's groups."""

    def __init__(self, groups: list[dict]) -> None:
        self.spans = {
            span["spanId"]: span | {"service": _attributes(group["resource"])["service.name"]}
            for group in groups
            for scope in group["scopeSpans"]
            for span in scope["spans"]
        }

    def name(self, span: dict) -> str:
        return f"{span['service']}: {span['name']}"

    def edges(self) -> Edges:
        """Of spans whose parent is there, hence of a connected trace all but one."""
        pairs = ((self.spans.get(span.get("parentSpanId")), span) for span in self.spans.values())
        return {(self.name(above), self.name(span)) for above, span in pairs if above}

    def roots(self) -> list[dict]:
        return [span for span in self.spans.values() if span.get("parentSpanId") not in self.spans]

    def links(self) -> list[tuple[str, dict, dict]]:
        """(as what, the first attempt, the later one)."""
        return [
            (_attributes(link)["costlab.attempt"], self.spans[link["spanId"]], span)
            for span in self.spans.values()
            for link in span.get("links", ())
            if link["spanId"] in self.spans
        ]


def _attributes(holder: dict) -> dict[str, object]:
    found = {item["key"]: item["value"] for item in holder.get("attributes", ())}
    return {key: value.get("stringValue", value) for key, value in found.items()}


def send(stack, client: Client, control: Control, case: Case) -> str:
    """Make the request of ``case``; the id of its trace."""
    trace, chaos = secrets.token_hex(16), Chaos(stack)
    control.set_flags({"tracing.sample": 1, **case.flags})
    body = case.body and json.dumps(case.body).replace("{unique}", uuid.uuid4().hex).encode()
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01", "Content-Type": "application/json"}
    if case.route == "/api/orders":
        headers["Idempotency-Key"] = uuid.uuid4().hex
    try:
        if case.fault:
            chaos.add(case.fault)
        reply = client.send(case.method, case.target, body, headers)
    finally:
        if case.fault:
            chaos.clear()
        control.set_flags(dict.fromkeys(["tracing.sample", *case.flags]))
    assert reply.status < 400 or (case.fault and reply.status == 503), reply.body
    return trace


def check(case: Case, trace: Trace) -> None:
    edges = trace.edges()
    if case.route == "/api/orders":  # asked for once more by the idempotency key, which is no part of this table
        edges -= {("orders: POST /orders", "orders: postgres query")}
    assert edges == case.edges
    [root] = trace.roots()
    assert trace.name(root) == f"gateway: {case.method} {case.route}"
    assert case.tells.items() <= _attributes(root).items()
    if case.fault:
        assert any(_attributes(span).get("costlab.fault") == case.fault["fault"] for span in trace.spans.values())
    kind, times = case.linked or ("", 0)
    links = trace.links()
    assert [link[0] for link in links] == [kind] * times
    for _, first, later in links:
        assert (first["name"], first["parentSpanId"]) == (later["name"], later["parentSpanId"])
        assert first["spanId"] != later["spanId"]
        assert first in (links[0][1],)


def wait_for_the_cache(client: Client, control: Control) -> None:
    """A cache-proxy whose Redis was restarted by an earlier test leaves it alone for a moment."""
    control.set_flags(CACHED | {"cache.ttl": 30})
    eventually(lambda: "hit" in client.get("/api/users/8").headers["Cache-Status"])
    control.set_flags(dict.fromkeys(CACHED))


def walk(stack, client: Client, control: Control, groups: GROUPS) -> None:
    """Every case: all are asked for first, because spans take seconds to arrive."""
    wait_for_the_cache(client, control)
    traces = {name: send(stack, client, control, case) for name, case in CASES.items()}
    wrong = {}
    for name, trace in traces.items():

        def passes(name=name, trace=trace) -> bool:
            try:
                check(CASES[name], Trace(groups(trace)))
            except (AssertionError, ValueError, KeyError) as error:
                wrong[name] = str(error)
                return False
            return not wrong.pop(name, None) or True

        try:
            eventually(passes, within=WITHIN if not wrong else 1)
        except AssertionError:
            continue
    assert wrong == {}


def test_every_request_is_one_connected_trace_with_the_right_span_above_each(stack, client, control, collector):
    walk(stack, client, control, collector.trace)


@pytest.fixture
def stack_with_jaeger(tmp_path) -> Iterator:
    """A stack that brought a Jaeger along."""
    base = ports.keep_base()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COSTLAB_WITHOUT", "prometheus,grafana")
        running = open_stack("local", state=tmp_path / "stack", port_base=base, seeing=True)
    running.up(lambda line: None)
    yield running
    running.down(volumes=True)
    ports.give_back(base)


@pytest.mark.skipif("COSTLAB_TEST_TRACES" not in os.environ, reason="`make test-traces` runs this")
def test_a_real_jaeger_answers_the_same_traces(stack_with_jaeger):
    stack = stack_with_jaeger
    assert "jaeger" in {row.name for row in stack.status()}, binaries.how_to_get("jaeger")
    assert stack.left_out() == {}
    address = next(row.url for row in stack.status() if row.name == "jaeger")

    def groups(trace: str) -> list[dict]:
        try:
            with urllib.request.urlopen(f"{address}/api/v3/traces/{trace}", timeout=10) as answer:
                document = json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            return []  # not yet
        return document["result"]["resourceSpans"]

    walk(stack, Client(stack.base_url()), Control(stack.internal_urls(), stack.token()), groups)
