"""Backoff: every kind keeps its range, whatever the base, the cap and the number of failures."""

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab.resilience.backoff import BACKOFFS

seeds = st.integers(0, 2**32)
bases = st.floats(0.001, 10)
caps = st.floats(0.001, 100)


def pauses(kind, base, cap, seed=0, count=40):
    return list(itertools.islice(BACKOFFS[kind](base, cap, Random(seed)), count))


def ceiling(base, cap, retry):
    return min(cap, base * 2**retry)


@given(bases, caps, seeds)
def test_immediate_never_waits(base, cap, seed):
    assert set(pauses("immediate", base, cap, seed)) == {0.0}


@given(bases, caps, seeds)
def test_exponential_doubles_from_the_base_to_the_cap(base, cap, seed):
    expected = [ceiling(base, cap, retry) for retry in range(40)]
    assert pauses("exponential", base, cap, seed) == pytest.approx(expected)


@given(bases, caps, seeds)
def test_full_jitter_stays_between_zero_and_the_exponential_pause(base, cap, seed):
    for retry, pause in enumerate(pauses("full_jitter", base, cap, seed)):
        assert 0 <= pause <= ceiling(base, cap, retry)


@given(bases, caps, seeds)
def test_equal_jitter_stays_in_the_upper_half_of_the_exponential_pause(base, cap, seed):
    for retry, pause in enumerate(pauses("equal_jitter", base, cap, seed)):
        longest = ceiling(base, cap, retry)
        assert longest / 2 <= pause <= longest


@given(bases, st.floats(1, 1000), seeds)
def test_decorrelated_jitter_stays_between_base_and_cap_and_within_three_times_the_last_pause(base, factor, seed):
    cap = base * factor
    last = base
    for pause in pauses("decorrelated_jitter", base, cap, seed):
        assert base <= pause <= cap
        assert pause <= 3 * last * (1 + 1e-12)
        last = pause


@given(bases, caps, seeds, st.sampled_from(sorted(BACKOFFS)))
def test_no_pause_is_ever_longer_than_the_cap(base, cap, seed, kind):
    assert all(0 <= pause <= cap for pause in pauses(kind, base, cap, seed))


@pytest.mark.parametrize("kind", ["equal_jitter", "full_jitter", "decorrelated_jitter"])
def test_jitter_sends_two_callers_to_different_moments(kind):
    assert pauses(kind, 0.05, 2.0, seed=1) != pauses(kind, 0.05, 2.0, seed=2)


def test_full_jitter_uses_its_whole_range():
    """A tenth of the draws lies in each tenth of the range."""
    first = [pauses("full_jitter", 1.0, 1.0, seed, count=1)[0] for seed in range(2000)]
    tenths = [sum(tenth / 10 <= pause < (tenth + 1) / 10 for pause in first) for tenth in range(10)]
    assert all(140 <= count <= 260 for count in tenths)


def test_the_example_in_the_docstring():
    assert pauses("exponential", 0.05, 2.0, count=8) == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
