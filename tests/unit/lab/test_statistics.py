"""The statistics, fed with data whose answer is known."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.lab import statistics


def test_the_estimate_is_the_median_of_pairwise_means():
    assert statistics.hodges_lehmann([1.0, 2.0, 6.0]) == pytest.approx(2.75)


def test_the_estimate_of_one_round_is_that_round():
    assert statistics.hodges_lehmann([0.3]) == 0.3


def test_one_wild_round_in_ten_hardly_moves_the_estimate():
    clean = [0.1 + 0.001 * i for i in range(10)]
    assert statistics.hodges_lehmann([*clean[:9], 5.0]) == pytest.approx(statistics.hodges_lehmann(clean), abs=0.003)


def test_one_round_has_no_interval():
    assert statistics.interval([0.1], seed=1) == (-math.inf, math.inf)


def test_the_same_seed_gives_the_same_interval():
    values = [0.1, 0.12, 0.09, 0.2]
    assert statistics.interval(values, seed=3) == statistics.interval(values, seed=3)


@pytest.mark.parametrize("rounds", [2, 3, 6, 10, 200])
def test_estimates_of_drawn_rounds_are_those_of_the_rounds_themselves(rounds):
    values = np.random.default_rng(rounds).normal(0, 1, rounds)
    drawn = statistics.resamples(rounds, seed=1)[:200]
    expected = [statistics.hodges_lehmann(values[row]) for row in drawn]
    assert statistics._estimates(values, drawn).tolist() == expected


def test_draws_that_are_counted_in_parts_give_the_same_interval(monkeypatch):
    values = np.random.default_rng(1).normal(0, 1, 12)
    whole = statistics.interval(values, seed=1)
    monkeypatch.setattr(statistics, "_CELLS", 100_000)
    assert statistics.interval(values, seed=1) == whole


def test_many_rounds_take_no_gigabytes():
    tracemalloc.start()
    statistics.interval(np.random.default_rng(1).normal(0, 1, 100), seed=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150e6


def test_student_quantiles_are_those_of_the_tables():
    for freedom, quantile in ((1, 12.706), (3, 3.182), (9, 2.262), (19, 2.093)):
        assert statistics.student_quantile(freedom) == pytest.approx(quantile, rel=0.01)


def test_sign_flips_are_counted_exactly():
    assert statistics.sign_flip_p([1, 2, 3, 4, 5, 6]) == pytest.approx(2 / 64)
    assert statistics.sign_flip_p([1.0, -1.0]) == 1.0
    assert statistics.sign_flip_p([0.0, 0.0]) == 1.0
    assert statistics.sign_flip_p([-1, 2, 3]) == pytest.approx(4 / 8)


def test_sign_flips_agree_with_trying_all_of_them():
    values = [0.5, -0.2, 0.9, 1.4, -0.1, 0.5, 0.8]
    sizes = np.abs(values)
    ranks = [(sizes < size).sum() + ((sizes == size).sum() + 1) / 2 for size in sizes]
    ours = abs(sum(rank * np.sign(value) for rank, value in zip(ranks, values, strict=True)))
    ways = [sum(r if bit else -r for r, bit in zip(ranks, bits, strict=True)) for bits in np.ndindex(*[2] * 7)]
    expected = np.mean([abs(way) >= ours - 1e-12 for way in ways])
    assert statistics.sign_flip_p(values) == pytest.approx(expected)


def test_holm_multiplies_the_smallest_most_and_keeps_the_order():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_interval_of_rounds_that_follow_a_slow_wave_is_wider_and_that_of_alternating_ones_is_not():
    wave = [math.sin(i / 3) for i in range(20)]
    assert statistics.widened(wave) > 2
    assert statistics.widened([(-1) ** i for i in range(20)]) == 1
    assert statistics.widened([0.1] * 20) == 1
    assert statistics.widened(wave[:7]) == 1
    shuffled = np.random.default_rng(1).permutation(wave)
    (low, high), (narrow_low, narrow_high) = statistics.interval(wave, 1), statistics.interval(shuffled, 1)
    assert high - low > 2 * (narrow_high - narrow_low)


def test_independent_rounds_are_seldom_taken_for_dependent_ones():
    random = np.random.default_rng(4)
    alarms = sum(statistics.widened(random.normal(0, 1, 10)) > 1 for _ in range(2000))
    assert alarms / 2000 <= 0.05


@pytest.mark.parametrize("rounds", [6, 10])
def test_one_wild_round_does_not_make_the_interval_wild(rounds):
    clean = np.random.default_rng(rounds).normal(-0.1, 0.03, rounds)
    planted = clean.copy()
    planted[2] += math.log(10)
    (low, high), (wild_low, wild_high) = statistics.interval(clean, 1), statistics.interval(planted, 1)
    assert wild_high - wild_low < 2.5 * (high - low)


def test_rounds_that_are_far_off_too_often_to_be_an_accident_all_count():
    two_answers = [-2.1, -2.0, -2.2, -1.9, -2.0, -2.1, 0.0, 0.1, -0.1, 0.0]
    low, high = statistics.interval(two_answers, 1)
    assert low < -1.9
    assert high > -0.2


@settings(max_examples=30)
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=12))
def test_the_interval_holds_the_estimate(differences):
    low, high = statistics.interval(differences, 1)
    assert low <= statistics.hodges_lehmann(differences) <= high


def test_a_share_of_few_trials_has_a_wide_interval():
    """Against the tables of Brown, Cai & DasGupta, 2001."""
    assert statistics.wilson(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert statistics.wilson(5, 10) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert statistics.wilson(10, 10)[1] == pytest.approx(1.0)


@given(trials=st.integers(1, 12), other=st.integers(1, 12), data=st.data())
def test_fishers_p_is_the_share_of_tables_that_are_no_more_likely(trials, other, data):
    """Counted from every way to hand out so many yeses among all trials."""
    yes, other_yes = data.draw(st.integers(0, trials)), data.draw(st.integers(0, other))
    both = yes + other_yes
    ways = {
        k: math.comb(trials, k) * math.comb(other, both - k)
        for k in range(both + 1)
        if k <= trials and both - k <= other
    }
    expected = sum(way for way in ways.values() if way <= ways[yes]) / sum(ways.values())
    assert statistics.fisher_two_sided_p(yes, trials, other_yes, other) == pytest.approx(expected)
