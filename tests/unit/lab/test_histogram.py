"""Latency histograms."""

import numpy as np
import pytest

from costlab.lab import histogram


def test_percentiles_are_right_to_half_a_bucket():
    latencies = np.random.default_rng(1).lognormal(-5, 1, 10_000)
    counted = histogram.count(latencies)
    for share in (0.5, 0.95, 0.99):
        exact = np.sort(latencies)[int(np.ceil(share * 10_000)) - 1]
        assert histogram.percentile(counted, share) == pytest.approx(exact, rel=0.003)


def test_merging_is_counting_together():
    first, second = np.array([0.001, 0.002]), np.array([0.002, 0.5])
    merged = histogram.merge([histogram.count(first), histogram.count(second)])
    assert merged == histogram.count(np.concatenate([first, second]))


def test_the_mean_is_that_of_the_requests():
    assert histogram.mean(histogram.count(np.array([0.01, 0.03]))) == pytest.approx(0.02, rel=0.003)


def test_nothing_counted_has_no_percentile():
    assert histogram.percentile({}, 0.5) is None
    assert histogram.mean({}) is None


def test_a_latency_of_nought_is_counted():
    assert sum(histogram.count(np.array([0.0, 1e-9])).values()) == 2
