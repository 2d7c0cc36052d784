"""A view of the stack is right by hand, survives what stacks do, and costs what the lab's bill says."""

import math
import re

import pytest

from costlab.lab import pricing
from costlab.lab.price_sheet import load_assumptions, load_sheet
from costlab.seeing import live, rates
from costlab.seeing.live import Reading, Scrape
from costlab.service.health import PATHS
from costlab.stack import Usage
from dashboards import prices

SHEET, GIVEN = load_sheet("aws-fargate"), load_assumptions()


def requests(count: float, route: str = "/users/{id}", status: str = "200", slow: float = 0.0) -> list:
    """``count`` requests, ``slow`` of them between 0.1 and 1 s, the others up to 0.1 s."""
    labels = {"http_request_method": "GET", "http_route": route, "http_response_status_code": status}
    name = "http_server_request_duration_seconds"
    bounds = {"0.1": count - slow, "1.0": count, "+Inf": count}
    return [
        (f"{name}_count", labels, count),
        *((f"{name}_bucket", labels | {"le": bound}, value) for bound, value in bounds.items()),
    ]


def reading(at: float, usage: dict | None = None, **samples: list | None) -> Reading:
    scrapes = {
        name.replace("_", "-"): None if own is None else Scrape(at, rates.keyed(own)) for name, own in samples.items()
    }
    used = {name: Usage(cpu, memory, "pss") for name, (cpu, memory) in (usage or {}).items()}
    return Reading(at, scrapes, used if usage else None)


def service(figures: live.Figures, name: str) -> live.Service:
    return next(each for each in figures.services if each.name == name)


def test_rates_errors_and_quantiles_are_of_what_happened_in_between():
    before = reading(10, gateway=[*requests(100), *requests(5, status="503")])
    after = reading(12, gateway=[*requests(118, slow=9), *requests(7, status="503")])
    [route] = live.figures(before, after).routes
    assert (route.service, route.method, route.route) == ("gateway", "GET", "/users/{id}")
    assert (route.requests_per_second, route.error_share) == (10, 0.1)
    assert route.p50 == pytest.approx(0.1 * 10 / 11)
    assert route.p95 == pytest.approx(0.1 + 0.9 * (19 - 11) / 9)


def test_instances_are_shown_together():
    before = reading(0, users=requests(10), users_2=requests(50))
    after = reading(2, users=requests(14), users_2=requests(56))
    figures = live.figures(before, after)
    assert [route.requests_per_second for route in figures.routes] == [5]
    assert service(figures, "users") == live.Service("users", 2, 2, [], 5, 0, None, None)


def test_an_instance_that_is_away_is_named_and_the_rest_goes_on():
    before = reading(0, gateway=requests(10), users=requests(10), users_2=requests(10))
    after = reading(1, gateway=requests(12), users=requests(13), users_2=None)
    figures = live.figures(before, after)
    assert service(figures, "users").away == ["users-2"]
    assert (service(figures, "users").up, service(figures, "users").requests_per_second) == (1, 3)
    assert service(figures, "gateway").requests_per_second == 2


def test_one_that_comes_back_brings_no_rate_before_it_is_known_twice():
    """What it had counted in all the time it was away did not happen just now."""
    figures = live.figures(reading(0, users=None), reading(1, users=requests(1000)))
    assert figures.routes == []
    assert service(figures, "users").requests_per_second is None


def test_a_restart_in_between_makes_no_rate_negative():
    before = reading(0, {"users": (50.0, 1)}, users=requests(100, slow=90))
    after = reading(1, {"users": (0.2, 1)}, users=requests(4))
    figures = live.figures(before, after)
    assert [(route.requests_per_second, route.p50) for route in figures.routes] == [(4, pytest.approx(0.05))]
    assert service(figures, "users").cpu_cores == 0


def test_probes_of_whoever_keeps_the_stack_are_no_requests():
    assert live.PROBES == PATHS
    before, after = reading(0, users=requests(1, "/readyz")), reading(1, users=requests(9, "/readyz"))
    assert live.figures(before, after).routes == []


def test_the_hit_share_leaves_out_what_went_past_the_cache():
    outcomes = {"hit": 6.0, "miss": 2.0, "bypass": 100.0}
    cached = [("costlab_cache_requests_total", {"outcome": name}, count) for name, count in outcomes.items()]
    none = [("costlab_cache_requests_total", {"outcome": name}, 0.0) for name in outcomes]
    assert live.figures(reading(0, cache_proxy=none), reading(1, cache_proxy=cached)).cache_hit_share == 0.75
    assert live.figures(reading(0, cache_proxy=none), reading(1, cache_proxy=none)).cache_hit_share is None


def test_waits_for_a_pool_are_counted_and_the_longest_come_first():
    def waits(peer: str, count: float, slow: float) -> list:
        name, labels = "costlab_connection_wait_seconds", {"peer": peer}
        bounds = {"0.1": count - slow, "1.0": count, "+Inf": count}
        buckets = [(f"{name}_bucket", labels | {"le": bound}, value) for bound, value in bounds.items()]
        return [(f"{name}_count", labels, count), *buckets]

    before = reading(0, orders=[*waits("postgres", 1, 0), *waits("users", 0, 0), *waits("redis", 5, 5)])
    after = reading(2, orders=[*waits("postgres", 5, 0), *waits("users", 6, 6), *waits("redis", 5, 5)])
    found = [(wait.peer, wait.waits_per_second, wait.p95) for wait in live.figures(before, after).pool_waits]
    assert found == [("users", 3, pytest.approx(0.955)), ("postgres", 2, pytest.approx(0.095))]


def test_the_backlog_is_as_it_stands():
    backlog = [("costlab_stream_backlog", {"stream": "orders:placed"}, 12.0)]
    assert live.figures(reading(0, worker=[]), reading(1, worker=backlog)).stream_backlog == 12


def used(cpu_seconds: float) -> dict:
    return {"gateway": (cpu_seconds, 2**28), "users": (2 * cpu_seconds, 2**28), "postgres": (cpu_seconds, 2**27)}


def test_the_cost_is_that_of_the_labs_bill():
    """40 requests: 5 ms of CPU in the gateway, 10 in users, 5 in PostgreSQL, 3,000 bytes and 200 of logs each."""
    body = "http_server_response_body_bytes_total"
    before = reading(0, used(1.0), gateway=requests(60), users=[("costlab_log_bytes_total", {}, 0.0)])
    more = [*requests(100), *requests(7, status="503"), (body, {"http_route": "/users/{id}"}, 120_000.0)]
    after = reading(10, used(1.2), gateway=more, users=[("costlab_log_bytes_total", {}, 8_000.0)])
    cost = live.cost(before, after, SHEET, GIVEN)
    measured = pricing.Measured(
        cpu_seconds={"gateway": 0.005, "users": 0.01},
        memory_gib=0.5,
        database_cpu_seconds=0.005,
        bytes=3000.0,
        spans=0.0,
        redis=False,
        database_gib=0.125,
        span_bytes=0.0,
        log_bytes=200.0,
    )
    assert cost.usd_per_month == pytest.approx(pricing.total(measured, SHEET, GIVEN))
    assert cost.idle_usd == pytest.approx(pricing.idle(measured, SHEET, GIVEN))
    assert sum(cost.rows.values()) == pytest.approx(cost.usd_per_month)
    assert cost.over_seconds == 10


def test_probes_are_no_requests_of_users_in_the_cost_either():
    """What was used is not divided by them, and their bytes are no egress."""
    body = "http_server_response_body_bytes_total"

    def cost(probes: float) -> live.Cost:
        probed = [*requests(probes, "/readyz"), (body, {"http_route": "/readyz"}, 99.0 * probes)]
        users = [*requests(10), (body, {"http_route": "/users/{id}"}, 30_000.0)]
        before = reading(0, used(1.0), gateway=[*requests(0), *requests(0, "/readyz")])
        return live.cost(before, reading(10, used(1.2), gateway=[*users, *probed]), SHEET, GIVEN)

    assert cost(1000.0) == cost(0.0)


def test_cpu_and_memory_cost_what_the_dashboard_says():
    """The dashboard's factors, out of its rules."""
    rules = {kind: rule for kind, _, rule in prices.prices(SHEET, GIVEN)}
    per_cpu, per_gib = (float(re.search(r"\* ([0-9.e+-]+)$", rules[kind])[1]) for kind in ("cpu", "memory"))
    cost = live.cost(
        reading(0, used(1.0), gateway=requests(0), users=[]),
        reading(1, used(1.1), gateway=requests(10), users=[]),
        SHEET,
        GIVEN,
    )
    assert cost.rows["CPU of our services"] == pytest.approx(0.03 * per_cpu)
    assert cost.rows["memory of our services"] == pytest.approx(0.5 * per_gib)


def test_while_nobody_comes_there_is_only_what_is_paid_then():
    cost = live.cost(
        reading(0, used(1.0), gateway=requests(3)), reading(1, used(1.1), gateway=requests(3)), SHEET, GIVEN
    )
    assert cost.usd_per_month is None
    assert cost.rows == {}
    assert 0 < cost.idle_usd < math.inf


def test_without_cpu_and_memory_there_is_no_cost():
    assert live.cost(reading(0, gateway=requests(1)), reading(1, used(1.0), gateway=requests(2)), SHEET, GIVEN) is None
