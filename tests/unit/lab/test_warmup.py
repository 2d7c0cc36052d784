"""The trend test on 1-second medians."""

import numpy as np

from costlab.lab.warmup import trend


def test_a_system_that_gets_steadily_faster_is_drifting():
    assert trend([20, 18, 16, 14, 12, 11, 10, 9]).drifting


def test_a_steady_system_is_not():
    assert not trend([10.0] * 8).drifting


def test_a_tiny_though_steady_trend_does_not_matter():
    assert not trend([10 + 0.01 * i for i in range(20)]).drifting


def test_noise_is_rarely_taken_for_a_trend():
    random = np.random.default_rng(4)
    assert sum(trend(random.normal(10, 2, 8)).drifting for _ in range(1000)) <= 20


def test_three_seconds_show_no_trend():
    assert trend([30, 20, 10]).p == 1.0
