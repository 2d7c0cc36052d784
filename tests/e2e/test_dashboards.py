"""A real Prometheus at the running stack: every query of every panel, annotation, rule and alert returns data.

Most of what there is to see is there as soon as there is traffic. What needs a flag, a fault or an instance that has
gone is in PHASES: the stack is driven there, and stays until every query that asks for those metrics has its data.
"""

import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import yaml

from costlab.lab.load import LoadSpec, find_k6, run_load
from costlab.lab.price_sheet import load_assumptions, load_sheet, sheet_names
from costlab.lab.pricing import Measured, total
from costlab.stack.chaos import Chaos
from costlab.stack.control import Control
from tests.conditions import eventually
from tests.e2e.conftest import Client
from tests.e2e.prometheus import Prometheus, needs_prometheus, started
from tests.structure.source import ROOT

# It drives a stack of three users through every state there is, and waits for scrapes: minutes on a busy machine.
asked_for = pytest.mark.skipif("COSTLAB_TEST_DASHBOARDS" not in os.environ, reason="`make test-dashboards` runs this")
pytestmark = [asked_for, needs_prometheus, pytest.mark.timeout(900)]

# Compose's own Prometheus scrapes every five seconds and evaluates every fifteen, the one started here every second.
# WINDOW is what Grafana puts in place of $__rate_interval: several scrapes.
WINDOW, PATIENCE = ("20s", 90.0) if os.environ.get("COSTLAB_TEST_COMPOSE") else ("10s", 20.0)
AT_ONCE = 4
FIRING = 'ALERTS{alertname="ErrorBudgetBurnsFast",slo="availability",alertstate="firing"}'
ERRORS = {"fault": "errors", "on": "users", "rate": 1, "ttl": 120}


@dataclass(frozen=True)
class Phase:
    """What the stack is driven to, and the metrics that only then have something to say."""

    metrics: tuple[str, ...]
    flags: dict[str, object] = field(default_factory=dict)
    fault: dict | None = None
    gone: str | None = None
    also: tuple[str, ...] = ()  # queries of no panel that must have data too


PHASES = {
    "a rollout, a block of an experiment, plain traffic": Phase(
        (
            "costlab_rollout_duration_seconds",
            "costlab_rollout_mismatches",
            "costlab_block",
            "costlab_order_pages",
            "costlab_stock_attempts",
            "costlab_check_duration",
        )
    ),
    "the gateway's door": Phase(
        (
            "costlab_rate_limit_decisions",
            "costlab_hedges",
            "costlab_compress_bytes",
            "costlab_slot_wait_seconds",
        ),
        {
            "gateway.rate_limit": "gcra",
            "gateway.rate_limit_rate": 100_000,
            "gateway.rate_limit_burst": 100_000,
            "gateway.hedge": "fixed",
            "gateway.hedge_ms": 0.1,
            "gateway.compress": "gzip",
            "users.slots": 8,
            "orders.slots": 8,
        },
    ),
    "room for one request at a time": Phase(
        ("costlab_shed_requests", "costlab_shed_queue_seconds"), {"gateway.shed": "codel", "gateway.shed_limit": 1}
    ),
    "pools of one connection": Phase(("costlab_connection_wait_seconds",), {"db.pool": 1, "http.pool_size": 1}),
    "a cache": Phase(("costlab_cache_requests",), {"gateway.reads": "cache_proxy", "cache.strategy": "ttl"}),
    "dual writes": Phase(("costlab_dual_writes",), {"orders.publish": "dual_write"}),
    "errors, retries and a breaker": Phase(
        ("costlab_retries", "costlab_breaker_refused", "costlab_breaker_opened", "costlab_faults"),
        {"http.retry": "immediate", "http.breaker": "breaker"},
        ERRORS,
        also=(FIRING,),
    ),
    "errors and a client throttle": Phase(
        ("costlab_throttle_refused",), {"http.breaker": "client_throttle", "http.breaker_k": 1.1}, ERRORS
    ),
    "a replica that has gone": Phase(("costlab_replica_ejections", "costlab_replica_failovers"), gone="users-3"),
}


def _panels() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "dashboards").glob("*.json")):
        document = json.loads(path.read_text())
        for panel in document["panels"]:
            for target in panel.get("targets", ()):
                yield f"{path.stem}: {panel['title']} {target['refId']}", target["expr"]
        for annotation in document["annotations"]["list"]:
            yield f"{path.stem}: annotation {annotation['name']}", annotation["expr"]


def _rules() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "infra" / "prometheus" / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for turn, rule in enumerate(group["rules"]):
                if "record" in rule:
                    yield f"{path.stem}: {turn} {rule['record']}", rule["record"]
                # An alert that does not fire has no data; what it watches has. tests/rules sees each fire.
                watched = re.sub(r"\s+(>|==)\s+[\d.]+", "", rule["expr"]) if "alert" in rule else rule["expr"]
                yield f"{path.stem}: {turn} {rule.get('alert', 'expression')}", watched


def _with_exemplars() -> Iterator[str]:
    for path in sorted((ROOT / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            yield from (target["expr"] for target in panel.get("targets", ()) if target.get("exemplar"))


QUERIES = {
    name: text.replace("$__rate_interval", WINDOW).replace("$sheet", sheet_names()[0])
    for name, text in [*_panels(), *_rules()]
}


def _needs(query: str) -> list:
    """What the machine must have for the query to have data."""
    return (
        [pytest.mark.skipif(find_k6() is None, reason="no k6 here, neither as $K6 nor on PATH")]
        if "k6_" in query
        else []
    )


@pytest.fixture(scope="module")
def prometheus(replicated_stack, tmp_path_factory) -> Iterator[Prometheus]:
    """Prometheus with the rules of the repository, driven through PHASES."""
    with started(replicated_stack, tmp_path_factory.mktemp("prometheus")) as running:
        drive(replicated_stack, running)
        yield running


def drive(stack, running: Prometheus) -> None:
    """Through PHASES, and to k6's metrics where there is k6."""
    _through_phases(stack, running)
    if find_k6() is not None:
        _send_by_k6(stack, running)


def _send_by_k6(stack, running: Prometheus) -> None:
    """The lab's own k6, which writes to Prometheus as a user would ask it to."""
    traffic = ROOT / "loadtests" / "traffic" / "browse.json"
    spec = LoadSpec(stack.base_url(), traffic, rate=20, seconds=8, settle_seconds=0, seed=1, api_key="demo")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("K6_PROMETHEUS_RW_SERVER_URL", f"{running.url}/api/v1/write")
        environment.setenv("K6_PROMETHEUS_RW_PUSH_INTERVAL", "1s")
        run_load(spec, "k6")


def _through_phases(stack, running: Prometheus) -> None:
    client, chaos = Client(stack.base_url()), Chaos(stack)
    plane = Control(stack.internal_urls(), stack.token())
    plane.roll_out({"users.version": {"value": "v2_wrong", "percent": 50}})
    plane.call("PUT", "/block", {"experiment": "11-caching", "variant": "on", "round": 1}, service="gateway")
    try:
        for phase in PHASES.values():
            if phase.flags:
                plane.set_flags(phase.flags)
            if phase.fault:
                chaos.add(phase.fault)
            with _without(stack, phase.gone):
                _until_seen(client, running, phase)
            if phase.fault:
                chaos.clear()
            if phase.flags:
                plane.set_flags(dict.fromkeys(phase.flags))
    finally:
        if chaos.status():
            chaos.clear()
        plane.roll_out({"users.version": None})
        plane.call("PUT", "/block", {"experiment": "11-caching", "variant": "on", "round": 0}, service="gateway")
        plane.set_flags(dict.fromkeys(plane.flags()))


@contextmanager
def _without(stack, instance: str | None) -> Iterator[None]:
    """One instance is gone meanwhile."""
    if instance is None:
        yield
        return
    stack.stop(instance)
    try:
        yield
    finally:
        stack.start(instance)


def _until_seen(client: Client, running: Prometheus, phase: Phase) -> None:
    """Traffic until the queries of the phase have data; those that never have any fail below, by name."""
    waiting = [*phase.also, *(query for query in QUERIES.values() if any(metric in query for metric in phase.metrics))]
    assert waiting, f"nothing asks for {phase.metrics}"
    deadline = time.monotonic() + PATIENCE
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while waiting and time.monotonic() < deadline:
            list(pool.map(_traffic, [client] * AT_ONCE))
            waiting = [query for query in waiting if not running.values(query)]


def _traffic(client: Client) -> None:
    """A little of everything; what fails on purpose may fail."""
    for user in range(1, 6):
        client.get(f"/api/users/{user}", **{"Accept-Encoding": "gzip"})
    client.get("/api/users?ids=1,2,3")
    client.get("/readyz")
    client.get("/api/products/7")
    client.get("/api/users/7/orders", **{"Accept-Encoding": "gzip"})
    client.get("/api/orders/stats/totals")
    order = {"user_id": 7, "lines": [{"product_id": 7, "quantity": 1}]}
    client.post("/api/orders", order, **{"Idempotency-Key": uuid.uuid4().hex})
    client.post("/api/stock/7/reserve", {"quantity": 1})


@pytest.mark.parametrize("name", [pytest.param(name, marks=_needs(query)) for name, query in QUERIES.items()])
def test_every_query_returns_data(prometheus, name):
    """Also without what stands in where there is none."""
    query = re.sub(r"\s+or vector\(0\)", "", QUERIES[name])
    assert prometheus.values(query), f"no data: {query}"


def test_every_instance_is_scraped(prometheus, replicated_stack):
    targets = [target for target in prometheus.targets() if target["labels"]["job"] == "costlab"]
    assert {target["health"] for target in targets} == {"up"}
    assert len(targets) == len(replicated_stack.internal_urls())


def test_the_alerts_on_the_error_budget_fire_under_errors(prometheus):
    assert prometheus.values(FIRING)


@pytest.mark.parametrize("expression", sorted(set(_with_exemplars())))
def test_a_latency_panel_leads_to_the_trace_of_a_sampled_request(
    prometheus, replicated_control, replicated_client, expression
):
    replicated_control.set_flags({"tracing.sample": 1})
    trace_id = uuid.uuid4().hex
    replicated_client.get("/api/users/1", traceparent=f"00-{trace_id}-{'1' * 16}-01")
    asked = expression.replace("$__rate_interval", WINDOW)
    eventually(lambda: trace_id in {one["labels"]["trace_id"] for one in prometheus.exemplars(asked)}, PATIENCE)


@pytest.mark.parametrize("sheet", sheet_names())
def test_the_live_bill_is_that_of_the_lab_for_the_same_use(prometheus, sheet):
    """Rule by rule in PromQL, against pricing.total in one sum."""
    at = time.time() - 2

    def used(record: str) -> dict[str, float]:
        return prometheus.vector(f"cost:{record}:5m", at)

    measured = Measured(
        cpu_seconds=used("cpu_seconds_per_request"),
        memory_gib=sum(prometheus.vector("sum by (service) (process_memory_usage_bytes)", at).values()) / 2**30,
        database_cpu_seconds=0.0,
        bytes=sum(used("body_bytes_per_request").values()),
        spans=0.0,
        redis=True,
        span_bytes=sum(used("span_bytes_per_request").values()),
        log_bytes=sum(used("log_bytes_per_request").values()),
    )
    [live] = prometheus.vector(f'sum(cost:usd_per_month:5m{{sheet="{sheet}"}})', at).values()
    # Memory is that of the moment of evaluation, which is a little before the one we ask for.
    assert live == pytest.approx(float(total(measured, load_sheet(sheet), load_assumptions())), rel=0.02)
    assert min(measured.cpu_seconds.values()) > 0
