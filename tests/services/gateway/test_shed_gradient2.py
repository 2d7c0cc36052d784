"""Gradient2: a limit that follows latency."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.shed.gradient2 import FIRST, LEAST, MOST, Gradient2

SECONDS = st.floats(0.0005, 5)
# Thousands of samples an example: fewer examples, and no opinion on how fast the machine is.
many_samples = settings(deadline=None, max_examples=25)


def busy(seconds, samples, gradient=None):
    """A limit after so many answers, with as many requests in flight as it lets in."""
    gradient = gradient or Gradient2()
    for _ in range(samples):
        gradient.sample(seconds, gradient.limit)
    return gradient


@many_samples
@given(SECONDS)
def test_while_latency_stays_the_limit_grows_to_what_is_asked_for(seconds):
    assert busy(seconds, 1000).limit == MOST


@many_samples
@given(SECONDS)
def test_the_limit_shrinks_when_latency_doubles_and_grows_back(seconds):
    gradient = busy(seconds, 1000)
    busy(2 * seconds, 50, gradient)
    assert gradient.limit < MOST / 2
    busy(seconds, 1000, gradient)
    assert gradient.limit == MOST


@many_samples
@given(SECONDS, st.floats(4, 100))
def test_at_many_times_the_latency_the_limit_falls_to_its_least(seconds, factor):
    gradient = busy(seconds, 1000)
    assert min(busy(factor * seconds, 1, gradient).limit for _ in range(100)) == LEAST


@many_samples
@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 100)), max_size=300))
def test_the_limit_stays_in_its_range_whatever_is_measured(samples):
    gradient = Gradient2()
    for seconds, in_flight in samples:
        gradient.sample(seconds, in_flight)
        assert LEAST <= gradient.limit <= MOST


@many_samples
@given(SECONDS, st.integers(1, int(FIRST / 2) - 1))
def test_a_limit_that_is_not_used_by_half_does_not_grow(seconds, in_flight):
    gradient = Gradient2()
    for _ in range(200):
        gradient.sample(seconds, in_flight)
    assert gradient.limit == FIRST
