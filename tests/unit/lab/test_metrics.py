"""Every metric in one registry, and what it makes of a block."""

import pytest

from costlab.lab import metrics
from costlab.lab.block import FaultSeen, Orders, Second
from costlab.lab.recovery import cut_off, seconds
from tests.unit.lab import synthetic


def read(name, **more):
    return metrics.named(name).read(synthetic.block(1, "off", **more), ())


@pytest.mark.parametrize("metric", metrics.METRICS.values(), ids=lambda metric: metric.name)
def test_every_metric_says_what_it_is_and_can_be_read_off_any_block(metric):
    assert metric.label
    assert metric.better in ("lower", "higher")
    assert metric.matters >= 0
    value = metric.read(synthetic.block(1, "off"), ())
    assert value is None or value >= 0


@pytest.mark.parametrize(
    ("name", "counters", "expected"),
    [
        ("retries_per_request", {'gateway costlab_retries_total{outcome="retried",upstream="users"}': 250}, 0.25),
        ("retries_per_request", {'gateway costlab_retries_total{outcome="budget",upstream="users"}': 250}, 0.0),
        ("hedges_per_request", {'gateway costlab_hedges_total{outcome="sent",upstream="users"}': 20}, 0.02),
        ("refused_calls_per_request", {"a costlab_breaker_refused_total": 10}, 0.01),
        ("refused_calls_per_request", {"b costlab_throttle_refused_total": 70}, 0.07),
        ("connections_per_request", {'orders costlab_connections_opened_total{peer="users"}': 1000}, 1.0),
        ("pool_wait_ms_per_request", {'orders costlab_connection_wait_seconds_sum{peer="postgres"}': 2.5}, 2.5),
        ("spans_per_request", {"gateway costlab_spans_started_total": 4000}, 4.0),
        ("span_bytes_per_request", {"gateway costlab_span_bytes_total": 250_000}, 250.0),
        ("log_bytes_per_request", {"orders costlab_log_bytes_total": 90_000}, 90.0),
        ("jobs_per_second", {'worker costlab_jobs_total{outcome="done"}': 505}, 50.0),
    ],
)  # fmt: skip
def test_counted_work_is_per_successful_request_or_second(name, counters, expected):
    assert read(name, counters=counters) == pytest.approx(expected)


def cache(**outcomes):
    return {f'cache-proxy costlab_cache_requests_total{{outcome="{name}"}}': n for name, n in outcomes.items()}


def test_a_read_that_shared_somebody_elses_call_did_not_reach_the_origin():
    counters = cache(hit=300, coalesced=500, miss=200)
    assert read("cache_hit_share", counters=counters) == pytest.approx(0.8)
    assert read("cache_coalesced_share", counters=counters) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["cache_hit_share", "shed_share", "admitted_share", "lost_orders", "recovery_seconds"])
def test_what_did_not_happen_has_no_share(name):
    assert read(name, counters={}) is None


@pytest.mark.parametrize(("milliseconds", "timely"), [(490.0, 90.0), (510.0, 0.0)])
def test_an_answer_after_half_a_second_is_not_timely(milliseconds, timely):
    assert read("timely_per_second", milliseconds=milliseconds, failed=100) == timely
    assert read("goodput_per_second", milliseconds=milliseconds, failed=100) == 90.0


def test_queries_are_told_by_service_too():
    assert read("db_queries_per_request.users") == read("db_queries_per_request") == 1.0
    assert read("db_queries_per_request.worker") == 0.0


def test_orders_beyond_those_accepted_are_duplicates():
    assert read("duplicated_orders", orders=Orders(placed=12, lost=0, accepted=10)) == 2
    assert read("duplicated_orders", orders=Orders(placed=9, lost=1, accepted=10)) == 0
    assert read("lost_orders", orders=Orders(placed=9, lost=1, accepted=10)) == 1


def series(*states):
    """A second per letter: w well, s slow, f failing, _ without an answer."""
    values = {"w": (0, 10.0), "s": (0, 50.0), "f": (50, 10.0), "_": (100, None)}
    return [
        Second(at=i, requests=100, failed=values[state][0], p50_ms=values[state][1], p95_ms=None)
        for i, state in enumerate("".join(states))
    ]


def fault(at, until):
    return FaultSeen(fault="error", on="users", at=at, until=until)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("wwwwfffffwwwww", 1.0),
        ("wwwwfffffffwww", 2.0),
        ("wwwwfffffwsfwww", 3.0),
        ("wwww_____sswww", 2.0),
        ("wwwwfffffffffff", 6.0),
        ("wwwwfffffffffww", 6.0),
    ],
)
def test_recovery_counts_from_the_end_of_the_fault_to_the_first_of_three_good_seconds(states, expected):
    assert seconds(series(states), [fault(4, 9)], len(states)) == expected


def test_a_block_that_ends_before_it_is_well_has_a_lower_bound():
    for states, cut in (("wwwwfffffffff", True), ("wwwwfffffffww", True), ("wwwwffffffwww", False)):
        assert cut_off(series(states), [fault(4, 9)], len(states)) == cut
    assert not cut_off(series("wwww"), [], 4)


def test_with_several_faults_the_last_one_counts():
    assert seconds(series("wwffwwwffswww"), [fault(2, 4), fault(7, 9)], 13) == 1.0


def test_where_nothing_was_broken_there_is_no_recovery():
    assert seconds(series("wwwffff"), [], 7) is None
