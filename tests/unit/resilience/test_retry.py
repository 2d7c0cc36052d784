"""Retry: never more attempts than allowed, none after the deadline, none that the budget refuses."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from costlab.resilience.retry import Retry


class Clock:
    """Time that passes only when somebody sleeps or works; ``late`` is how much later than asked a sleeper wakes."""

    def __init__(self, late=0.0):
        self.now = 100.0
        self.late = late
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds + self.late


def failing_attempts(clock, work, **retry):
    """The moments at which the attempts of a call start that always fails after ``work`` seconds; why it ended."""
    attempts = Retry(clock=clock, sleep=clock.sleep, **retry)
    started = []
    while True:
        started.append(clock.now)
        clock.now += work
        outcome = attempts.again()
        if outcome != "retried":
            return started, outcome


seconds = st.floats(0, 2)


@given(st.integers(1, 10), st.lists(seconds, min_size=1, max_size=10), seconds, seconds, st.floats(0, 10))
def test_attempts_never_exceed_the_number_allowed_and_none_starts_after_the_deadline(
    allowed, pauses, work, late, available
):
    clock = Clock(late)
    deadline = clock.now + available
    started, outcome = failing_attempts(clock, work, allowed=allowed, pauses=itertools.cycle(pauses), deadline=deadline)
    assert len(started) <= allowed
    assert all(moment < deadline for moment in started[1:])
    assert (outcome == "attempts") == (len(started) == allowed)


@given(st.integers(1, 10), st.integers(0, 10))
def test_the_budget_is_asked_once_for_each_retry_and_has_the_last_word(allowed, tokens):
    left = [tokens]

    def take():
        left[0] -= 1
        return left[0] >= 0

    started, outcome = failing_attempts(
        Clock(), 0, allowed=allowed, pauses=itertools.repeat(0.0), deadline=1e9, budget=take
    )
    assert len(started) == min(allowed, tokens + 1)
    assert outcome == ("attempts" if tokens + 1 >= allowed else "budget")


def test_a_retry_that_the_deadline_forbids_costs_no_budget():
    asked = []
    retry = Retry(3, itertools.repeat(2.0), 101.0, lambda: bool(asked.append(1)) or True, Clock())
    assert retry.again() == "deadline"
    assert asked == []


def test_the_pauses_are_taken_one_after_the_other():
    clock = Clock()
    failing_attempts(clock, 0, allowed=4, pauses=iter([0.1, 0.2, 0.4, 0.8]), deadline=1e9)
    assert clock.slept == [0.1, 0.2, 0.4]


def test_nobody_sleeps_for_no_time():
    clock = Clock()
    failing_attempts(clock, 0, allowed=4, pauses=itertools.repeat(0.0), deadline=1e9)
    assert clock.slept == []


def test_whoever_asked_to_be_left_alone_is_until_then_and_a_pause_longer():
    clock = Clock()
    retry = Retry(3, itertools.repeat(0.25), 1e9, clock=clock, sleep=clock.sleep)
    assert retry.again(after=1.0) == "retried"
    assert clock.slept == [1.25]


def test_it_counts_what_was_sent_again():
    retry = Retry(3, itertools.repeat(0.0), 1e9, clock=Clock())
    assert retry.resent == 0
    retry.again()
    assert retry.resent == 1
