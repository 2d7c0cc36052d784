"""The canary judge: finds what is worse, passes what is not, and says so when it cannot tell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.lab import canary_judge, statistics
from costlab.lab.canary_judge import FAIL, NO_DATA, PASS, Counts, Interval, fisher_p, judge, mann_whitney_p

TIMES = [step * unit for unit in (0.001, 0.01, 0.1, 1) for step in (1, 1.5, 2, 3, 4, 6, 8)]
FIGURES = st.lists(st.integers(0, 9), min_size=1, max_size=8)


def answered(random, requests, slow=1.0, failing=0.0, wrong=0.0, tail=0.01, median=0.004) -> Counts:
    """A group's interval: Poisson many requests, lognormal times with a tail of 100 ms."""
    requests = random.poisson(requests)
    seconds = random.lognormal(np.log(median * slow), 0.5, requests) + 0.1 * (random.random(requests) < tail)
    slower = {time: float((seconds > time).sum()) for time in TIMES}
    return Counts(requests, random.binomial(requests, failing), random.binomial(requests, wrong), slower)


def verdicts(simulations, baseline, canary, intervals=8, seed=17):
    """The share of simulations that ended in each word."""
    random = np.random.default_rng(seed)
    words = [
        judge([Interval(answered(random, **baseline), answered(random, **canary)) for _ in range(intervals)]).word
        for _ in range(simulations)
    ]
    return {word: words.count(word) / simulations for word in set(words)}


@pytest.mark.parametrize(
    ("baseline", "canary"),
    [
        ({"requests": 20}, {"requests": 20}),
        ({"requests": 20, "failing": 0.02}, {"requests": 20, "failing": 0.02}),
        ({"requests": 5, "failing": 0.02}, {"requests": 50, "failing": 0.02}),
        ({"requests": 50, "failing": 0.02}, {"requests": 5, "failing": 0.02}),
    ],
    ids=["alike", "both_failing", "a_heavy_user_in_the_canary", "a_heavy_user_in_the_baseline"],
)
def test_of_a_thousand_canaries_like_their_baseline_at_most_two_percent_fail(baseline, canary):
    assert verdicts(1_000, baseline, canary).get(FAIL, 0) <= 0.02


@pytest.mark.parametrize(
    "canary",
    [{"slow": 2.0}, {"failing": 0.2}, {"wrong": 0.2}, {"tail": 0.3}],
    ids=["twice_as_slow", "failing_a_fifth", "wrong_a_fifth", "late_a_third"],
)
def test_a_bad_canary_fails(canary):
    assert verdicts(100, {"requests": 20}, {"requests": 20} | canary).get(FAIL, 0) >= 0.95


@pytest.mark.parametrize("median", [0.0012, 0.0026, 0.006, 0.02, 0.2])
def test_twice_as_slow_is_found_whatever_the_service_takes(median):
    found = verdicts(100, {"requests": 40, "median": median}, {"requests": 40, "median": median, "slow": 2.0})
    assert found.get(FAIL, 0) >= 0.95


def test_a_faster_canary_passes():
    assert verdicts(50, {"requests": 20, "failing": 0.2}, {"requests": 20, "slow": 0.2}) == {PASS: 1}


def test_one_bad_moment_is_not_a_bad_version():
    """All 20 requests of one interval fail in the canary alone: by count overwhelming, by rank one of eight."""
    random = np.random.default_rng(1)
    intervals = [Interval(answered(random, 20), answered(random, 20, failing=float(at == 3))) for at in range(8)]
    assert judge(intervals).word == PASS


def test_what_is_not_larger_by_a_quarter_is_tolerated():
    quiet = dict.fromkeys(TIMES, 0.0)
    alike = [Interval(Counts(10_000, 1_000, 0, quiet), Counts(10_000, 1_200, 0, quiet))] * 8
    worse = [Interval(Counts(10_000, 1_000, 0, quiet), Counts(10_000, 1_300, 0, quiet))] * 8
    assert (judge(alike).word, judge(worse).word) == (PASS, FAIL)


def test_intervals_with_too_few_requests_in_either_group_do_not_count():
    quiet = dict.fromkeys(TIMES, 0.0)
    enough, few = Counts(3, 0, 0, quiet), Counts(2, 2, 2, quiet)
    intervals = [Interval(enough, enough)] * 4
    assert judge([*intervals, Interval(enough, few), Interval(few, enough)]).word == NO_DATA
    assert judge([*intervals, Interval(enough, enough)]).word == PASS
    assert judge([]).word == NO_DATA


def test_the_verdict_names_what_was_worse():
    quiet = dict.fromkeys(TIMES, 0.0)
    verdict = judge([Interval(Counts(100, 0, 0, quiet), Counts(100, 0, 50, quiet))] * 6)
    assert [one.metric for one in verdict.comparisons if one.failed] == ["wrong answers"]
    assert (verdict.comparisons[1].baseline, verdict.comparisons[1].canary) == (0, 0.5)


# The tests it rests on


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([19, 22, 16, 29, 24], [20, 11, 17, 12], 1 / 9),  # SciPy's documentation, method="exact"
        ([1, 2, 3], [4, 5, 6], 2 / 20),
        ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10], 2 / 252),
        ([1, 4], [2, 3], 1.0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 1.0),
        ([0, 0, 0], [0, 0, 1], 1.0),
        ([0, 0, 0, 0], [1, 1, 1, 1], 2 / 70),
    ],
)
def test_mann_whitney_has_the_known_values(first, second, expected):
    assert mann_whitney_p(first, second) == pytest.approx(expected)


def test_the_normal_approximation_has_the_known_value():
    ranks = statistics.doubled_ranks(np.array([19.0, 22, 16, 29, 24, 20, 11, 17, 12]))
    assert canary_judge._normal_p(ranks, 5) == pytest.approx(0.11134688653314041)  # SciPy's, method="asymptotic"


def test_beyond_what_is_counted_out_the_normal_distribution_is_as_good():
    random = np.random.default_rng(5)
    for _ in range(10):
        figures = random.integers(0, 20, 60) + np.repeat([0, 3], 30)
        ranks = statistics.doubled_ranks(figures.astype(float))
        assert canary_judge._normal_p(ranks, 30) == pytest.approx(canary_judge._exact_p(ranks, 30), abs=0.01)


@settings(max_examples=50, deadline=None)
@given(first=FIGURES, second=FIGURES)
def test_mann_whitney_is_the_share_of_all_regroupings(first, second):
    """Counted the slow way where that is possible: every choice of the first group's places."""
    from itertools import combinations

    together = np.array([*first, *second], dtype=float)
    ranks = statistics.doubled_ranks(together)
    middle = ranks.sum() * len(first) / len(ranks)
    ours = abs(ranks[: len(first)].sum() - middle)
    if len(together) <= 12:
        sums = [sum(ranks[i] for i in chosen) for chosen in combinations(range(len(ranks)), len(first))]
        expected = np.mean([abs(one - middle) >= ours - 1e-9 for one in sums])
        assert mann_whitney_p(first, second) == pytest.approx(expected)
    assert 0 < mann_whitney_p(first, second) == pytest.approx(mann_whitney_p(second, first))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ((3, 4, 1, 4), 0.9857142857142858),  # Fisher's lady tasting tea: 1 - 1/70
        ((1, 4, 3, 4), 0.24285714285714285),  # and 17/70
        ((0, 10, 0, 10), 1.0),
        ((0, 4, 4, 4), 1 / 70),
    ],
)
def test_fisher_has_the_known_values(table, expected):
    assert fisher_p(*table) == pytest.approx(expected)
