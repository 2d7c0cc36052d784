"""Gradient2: a limit that follows latency."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.shed.gradient2 import FIRST, LEAST, MOST, WINDOW_SAMPLES, WINDOW_SECONDS, Gradient2

SECONDS = st.floats(0.0005, 5)
# Thousands of samples an example: fewer examples, and no opinion on how fast the machine is.
few_examples = settings(deadline=None, max_examples=25)


class Timeline:
    """A limit, and answers that come in windows of ten."""

    def __init__(self):
        self.gradient = Gradient2()
        self._now = 1000.0

    def windows(self, seconds, count, in_flight=None):
        """So many windows of answers, with as many requests in flight as are let in, or fewer. The limit after them."""
        for _ in range(count):
            for sample in range(WINDOW_SAMPLES):
                self._now += WINDOW_SECONDS if sample == WINDOW_SAMPLES - 1 else 0
                self.gradient.sample(seconds, in_flight or self.gradient.limit, self._now)
        return self.gradient.limit


@few_examples
@given(SECONDS)
def test_while_latency_stays_the_limit_grows_to_what_is_asked_for(seconds):
    assert Timeline().windows(seconds, 300) == MOST


@few_examples
@given(SECONDS)
def test_the_limit_shrinks_when_latency_doubles_and_grows_back(seconds):
    timeline = Timeline()
    timeline.windows(seconds, 300)
    assert timeline.windows(2 * seconds, 50) < MOST / 4
    assert timeline.windows(seconds, 400) == MOST


@few_examples
@given(SECONDS, st.floats(4, 100))
def test_at_many_times_the_latency_the_limit_falls_to_its_least(seconds, factor):
    timeline = Timeline()
    timeline.windows(seconds, 300)
    assert min(timeline.windows(factor * seconds, 1) for _ in range(100)) == LEAST


@few_examples
@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 100), st.floats(0, 0.2)), max_size=300))
def test_the_limit_stays_in_its_range_whatever_is_measured(samples):
    gradient, now = Gradient2(), 1000.0
    for seconds, in_flight, pause in samples:
        now += pause
        gradient.sample(seconds, in_flight, now)
        assert LEAST <= gradient.limit <= MOST


@few_examples
@given(SECONDS, st.integers(1, int(FIRST / 2) - 1))
def test_a_limit_that_is_not_used_by_half_does_not_grow(seconds, in_flight):
    assert Timeline().windows(seconds, 100, in_flight) == FIRST


def test_one_slow_answer_among_many_changes_nothing():
    timeline = Timeline()
    before = timeline.windows(0.005, 300)
    timeline.gradient.sample(0.025, before, 0.0)
    assert timeline.windows(0.005, 1) == before
