"""Rates never fall below nothing, and quantiles are those of Prometheus."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab.seeing import rates

BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0)
SERIES = [("jobs_total", (("outcome", outcome),)) for outcome in ("done", "dead")] + [("seconds_count", ())]
GAUGE = ("backlog", ())
counts = st.integers(0, 10_000).map(float)
scrape = st.dictionaries(st.sampled_from(SERIES), counts)


def buckets(values: list[float]) -> dict[float, float]:
    return {bound: float(sum(value <= bound for value in values)) for bound in (*BOUNDS, math.inf)}


def prometheus(share: float, histogram: dict[float, float]) -> float:
    """bucketQuantile of Prometheus' promql/quantile.go, in its own words."""
    bounds = list(histogram)
    rank = share * histogram[bounds[-1]]
    b = next((i for i, bound in enumerate(bounds[:-1]) if histogram[bound] >= rank), len(bounds) - 1)
    if b == len(bounds) - 1:
        return bounds[-2]
    start, below = (bounds[b - 1], histogram[bounds[b - 1]]) if b else (0.0, 0.0)
    return start + (bounds[b] - start) * ((rank - below) / (histogram[bounds[b]] - below))


@given(scrape, scrape)
def test_no_counter_ever_falls(before, after):
    risen = rates.rises(before, after)
    assert set(risen) == set(after)
    assert all(value >= 0 for value in risen.values())


@given(scrape, scrape)
def test_what_rose_is_added_to_what_was(before, more):
    after = {series: before.get(series, 0.0) + more.get(series, 0.0) for series in SERIES}
    assert rates.rises(before, after) == pytest.approx({series: more.get(series, 0.0) for series in SERIES})


@given(st.lists(st.floats(0, 2), max_size=50), st.lists(st.floats(0, 2), min_size=1, max_size=50))
def test_after_a_restart_all_buckets_are_those_since(before, after):
    """Also those that have outgrown what they were before."""
    first, second = (
        {("seconds_bucket", (("le", str(bound)),)): count for bound, count in buckets(values).items()}
        for values in (before, after)
    )
    first["jobs_total", ()], second["jobs_total", ()] = 5.0, 4.0
    assert rates.rises(first, second) == second


def test_gauges_do_not_rise():
    assert rates.rises({GAUGE: 3.0}, {GAUGE: 5.0}) == {}


@given(st.lists(st.floats(0, 3), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_that_of_prometheus(values, share):
    histogram = buckets(values)
    assert rates.quantile(share, histogram) == pytest.approx(prometheus(share, histogram))


@given(st.lists(st.floats(0, 0.99), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values, share):
    true = float(np.quantile(values, share, method="inverted_cdf"))
    upper = next(bound for bound in BOUNDS if true <= bound)
    lower = max((bound for bound in BOUNDS if bound < upper), default=0.0)
    assert lower <= rates.quantile(share, buckets(values)) <= upper * (1 + 1e-12)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=200), st.floats(0.01, 1), st.floats(0.01, 1))
def test_quantiles_are_in_order(values, one, other):
    low, high = sorted((one, other))
    histogram = buckets(values)
    assert rates.quantile(low, histogram) <= rates.quantile(high, histogram) + 1e-12


@pytest.mark.parametrize("histogram", [{}, buckets([])])
def test_of_nothing_there_is_no_quantile(histogram):
    assert rates.quantile(0.95, histogram) is None
