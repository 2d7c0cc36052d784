"""The client throttle: refuses with exactly the probability of the SRE book, over two minutes that slide."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab.resilience.client_throttle import WINDOW_SECONDS, ClientThrottle, Throttled, Window, refusal_probability


class Boom(Exception):
    pass


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def call(throttle, k=2.0, fails=False):
    """accepted, failed or refused."""
    try:
        with throttle.guard(k):
            if fails:
                raise Boom
    except Boom:
        return "failed"
    except Throttled:
        return "refused"
    return "accepted"


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(1, 10))
def test_the_probability_is_that_of_the_formula_and_is_one(requests, share, k):
    accepts = int(requests * share)
    expected = max(0, (requests - k * accepts) / (requests + 1))
    assert refusal_probability(requests, accepts, k) == expected
    assert 0 <= expected < 1


@given(st.integers(0, 10**6), st.floats(1, 10), st.integers(0, 10**6))
def test_nothing_is_refused_while_accepts_keep_up(requests, k, surplus):
    """Keeping up: k times the accepts are at least the requests."""
    accepts = min(requests, int(requests / k) + 1 + surplus)
    assert refusal_probability(requests, accepts, k) == 0


@given(st.lists(st.booleans(), max_size=200), st.floats(1, 10))
def test_an_upstream_that_accepts_everything_is_never_throttled(draws, k):
    throttle = ClientThrottle("upstream", Clock(), lambda: 0.0)
    assert {call(throttle, k) for _ in draws} <= {"accepted"}


@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=200), st.floats(0, 200))
def test_the_window_counts_what_is_younger_than_two_minutes_and_forgets_what_is_older(steps, wait):
    """To the second: the oldest second of the window is forgotten as a whole."""
    window, now, records = Window(), 1000.0, []
    for pause, accepted in steps:
        now += pause
        window.add(now, accepted)
        records.append((now, accepted))
        window.totals(now)
    now += wait
    requests, accepts = window.totals(now)
    certain = [accepted for moment, accepted in records if moment > now - WINDOW_SECONDS + 1]
    possible = [accepted for moment, accepted in records if moment > now - WINDOW_SECONDS]
    assert len(certain) <= requests <= len(possible)
    assert sum(certain) <= accepts <= sum(possible)


def test_a_refusal_is_drawn_against_the_probability():
    """After 9 failures of 9 it is 9/10: a draw below refuses, one at it does not."""
    draws = [0.99] * 9 + [0.899, 0.91]
    throttle = ClientThrottle("upstream", Clock(), lambda: draws.pop(0))
    assert {call(throttle, fails=True) for _ in range(9)} == {"failed"}
    assert call(throttle) == "refused"
    assert call(throttle) == "accepted"


def test_a_refused_call_is_not_made_and_counts_as_a_request():
    throttle = ClientThrottle("upstream", Clock(), lambda: 0.0)
    call(throttle, fails=True)
    made = []
    for _ in range(3):
        with pytest.raises(Throttled), throttle.guard(2.0):
            made.append(1)
    assert made == []
    assert throttle._window.totals(1000.0) == (4, 0)


def test_an_upstream_that_accepts_a_fifth_gets_about_twice_what_it_accepts():
    """k = 2: of 100 calls a second, of which it can do 20, about 40 are let through."""
    clock, random = Clock(), Random(7)
    throttle = ClientThrottle("upstream", clock, random.random)
    outcomes = []
    for _ in range(200):
        clock.now += 1
        capacity = 20
        for _ in range(100):
            outcome = call(throttle, fails=capacity <= 0)
            capacity -= outcome != "refused"
            outcomes.append(outcome)
    settled = outcomes[-6000:]
    sent = sum(outcome != "refused" for outcome in settled) / 60
    assert 35 <= sent <= 45
    assert 19 <= settled.count("accepted") / 60 <= 20


def test_an_outage_is_forgotten_when_it_has_left_the_window():
    clock = Clock()
    throttle = ClientThrottle("upstream", clock, lambda: 0.5)
    for _ in range(50):
        call(throttle, fails=True)
    assert call(throttle) == "refused"
    clock.now += WINDOW_SECONDS
    assert call(throttle) == "accepted"


def test_calls_in_flight_are_not_held_against_the_upstream():
    """Many first calls at once to a healthy upstream: none is refused because the others have no answer yet."""
    throttle = ClientThrottle("upstream", Clock(), lambda: 0.0)
    with throttle.guard(2.0), throttle.guard(2.0), throttle.guard(2.0):
        pass
    assert call(throttle) == "accepted"


def test_a_call_that_gave_the_upstream_too_little_time_is_not_counted():
    throttle = ClientThrottle("upstream", Clock(), lambda: 0.0)
    for _ in range(10):
        with pytest.raises(Boom), throttle.guard(2.0, fair=False):
            raise Boom
    assert throttle._window.totals(1000.0) == (0, 0)
