"""The slot pool: never more than n inside, first come first served, and a capacity of exactly n / s."""

import math
import threading
import time
from itertools import pairwise

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from costlab.resilience.slot_pool import SlotPool
from costlab.service import context, metrics
from costlab.service.fault_kinds import capacity_cut as cut
from costlab.service.problem import Unavailable
from costlab.service.slots import Slots

MS = 1 / 1024  # sums of it are exact
gaps = st.lists(st.integers(0, 40), min_size=1, max_size=60)
slots = st.integers(1, 8)
service = st.integers(1, 50)


def run(pool, arrivals, patience=math.inf, late=0.0):
    """Turns of requests that arrive at ``arrivals``; whoever is to wake does so ``late``."""
    turns, wake = [], []
    for now in arrivals:
        for moment in sorted(moment for moment in wake if moment <= now):
            pool.advance(moment)
        turns.append(pool.arrive(now, now + patience))
        wake = [turn.end + late for turn in turns if turn.admitted.is_set() and turn.end + late > now]
    for _ in turns:  # each round admits at least one of those that still wait
        pool.advance(max([turn.end + late for turn in turns if turn.admitted.is_set()], default=0))
    return turns


def times(gaps):
    now, moments = 0.0, []
    for gap in gaps:
        now += gap * MS
        moments.append(now)
    return moments


def inside(turns, moment):
    return sum(turn.admitted.is_set() and turn.start <= moment < turn.end for turn in turns)


@given(gaps, slots, service, st.integers(0, 5))
def test_there_are_never_more_than_n_inside(gaps, slots, service, late):
    turns = run(SlotPool(slots, service * MS), times(gaps), late=late * MS)
    assert all(turn.admitted.is_set() for turn in turns)
    assert max(inside(turns, turn.start) for turn in turns) <= slots


@given(gaps, slots, service)
def test_who_comes_first_is_served_first(gaps, slots, service):
    turns = run(SlotPool(slots, service * MS), times(gaps))
    assert all(before.start <= after.start for before, after in pairwise(turns))


@given(gaps, slots, service)
def test_nobody_waits_while_a_slot_is_free(gaps, slots, service):
    for turn in (turns := run(SlotPool(slots, service * MS), times(gaps))):
        if turn.start > turn.arrived:
            assert inside([other for other in turns if other.start < turn.start], turn.start - MS / 2) == slots


@given(slots, service, st.integers(1, 20), st.integers(0, 5))
def test_under_overload_n_are_served_every_s_however_late_threads_wake(slots, service, rounds, late):
    """Capacity: the k-th group of n, all there from the beginning, ends at k x s exactly."""
    seconds = service * MS
    turns = run(SlotPool(slots, seconds), [0.0] * (slots * rounds), late=late * MS)
    assert [turn.end for turn in turns] == [(index // slots + 1) * seconds for index in range(slots * rounds)]


@given(gaps, slots, service, st.integers(1, 60))
def test_nobody_enters_after_the_deadline_and_leaving_costs_no_slot(gaps, slots, service, patience):
    turns = run(SlotPool(slots, service * MS), times(gaps), patience * MS)
    served = [turn for turn in turns if turn.admitted.is_set()]
    assert all(turn.start <= turn.deadline for turn in served)
    assert max(inside(served, turn.start) for turn in served) <= slots


@given(slots, slots, service, st.integers(0, 30))
def test_after_a_change_of_size_nobody_enters_unless_fewer_than_n_are_inside(before, after, service, moment):
    pool = SlotPool(before, service * MS)
    turns = [pool.arrive(0.0) for _ in range(20)]
    change = moment * MS
    pool.advance(change)
    pool.resize(after, service * MS, change)
    for step in range(1, 21 * service):
        pool.advance(change + step * MS)
    assert all(turn.admitted.is_set() for turn in turns)
    assert all(one.start <= other.start for one, other in pairwise(turns))
    assert all(inside(turns, turn.start) <= after for turn in turns if turn.start > change)


def test_switched_off_everybody_passes_and_those_who_wait_are_let_go():
    pool = SlotPool(1, 10.0)
    first, second = pool.arrive(0.0), pool.arrive(0.0)
    assert not second.admitted.is_set()
    pool.resize(0, 10.0, now=1.0)
    third = pool.arrive(2.0)
    assert (first.end, second.end, third.end) == (10.0, 1.0, 2.0)


def test_who_withdraws_is_out_of_the_queue_unless_the_turn_came():
    pool = SlotPool(1, 10.0)
    first, second, third = (pool.arrive(0.0) for _ in range(3))
    assert not pool.withdraw(first)
    assert pool.withdraw(second)
    pool.advance(10.0)
    assert (second.admitted.is_set(), third.start) == (False, 10.0)


def test_slots_in_use_follow_the_schedule():
    pool = SlotPool(2, 10.0)
    for _ in range(3):
        pool.arrive(0.0)
    assert [pool.in_use(0.0), pool.in_use(10.0)] == [2, 0]
    pool.advance(10.0)
    assert pool.in_use(10.0) == 1


class Followed(dict):
    """Flags whose follower is called by hand."""

    def on_change(self, listener):
        self.changed = listener


@pytest.fixture
def flags():
    return Followed({"orders.slots": 1, "orders.slot_ms": 1000})


def test_a_request_that_finds_no_slot_before_its_deadline_is_told_so(flags):
    front = Slots(Flask("orders"), flags, "orders.slots", "orders.slot_ms")
    flags.changed()
    front.pool.arrive(time.monotonic())  # who holds the one slot for a second
    refused = metrics.SLOTS_REFUSED._value.get()
    context.enter(context.Request("one", deadline=time.monotonic() + 0.02))
    try:
        with pytest.raises(Unavailable, match="No slot came free"):
            front.hold()
    finally:
        context.enter(None)
    assert metrics.SLOTS_REFUSED._value.get() == refused + 1


def test_a_slot_is_held_for_its_time_and_given_back(flags):
    flags["orders.slot_ms"] = 5
    front = Slots(Flask("orders"), flags, "orders.slots", "orders.slot_ms")
    flags.changed()
    started = time.monotonic()
    for _ in range(3):
        front.hold()
    assert time.monotonic() - started >= 3 * 0.005
    assert metrics.SLOTS_IN_USE._value.get() == 0


class Queued:
    """A lock that says in ``met`` when somebody has to wait for it."""

    def __init__(self, met):
        self._lock, self._met = threading.Lock(), met

    def __enter__(self):
        if not self._lock.acquire(blocking=False):
            self._met.set()
            self._lock.acquire()

    def __exit__(self, *error):
        self._lock.release()


def test_a_cut_that_ends_while_a_change_of_flags_is_followed_leaves_nothing_behind(flags, monkeypatch):
    """The fault's timer gives the slots back just when the thread of the flags has counted what the cut leaves."""
    flags["orders.slots"] = 8
    front, met, really = Slots(Flask("orders"), flags, "orders.slots", "orders.slot_ms"), threading.Event(), cut.left
    front._lock = Queued(met)
    front.cut(0.5)
    timer = threading.Thread(target=lambda: (front.restore(0.5), met.set()))

    def counted_and_then_restored(slots, cuts):
        kept = really(slots, cuts)
        if timer.ident is None:
            timer.start()
            met.wait(10)
        return kept

    monkeypatch.setattr(cut, "left", counted_and_then_restored)
    flags["orders.slots"] = 6
    flags.changed()
    timer.join(10)
    now = time.monotonic()
    turns = [front.pool.arrive(now) for _ in range(7)]
    assert [turn.admitted.is_set() for turn in turns] == [True] * 6 + [False]


def test_nothing_is_asked_before_a_request_while_there_is_no_pool(flags):
    """What is off costs nothing."""
    app = Flask("orders")
    flags["orders.slots"] = "off"
    Slots(app, flags, "orders.slots", "orders.slot_ms")
    for slots, asked in (("off", 0), (2, 1), (3, 1), ("off", 0), ("off", 0)):
        flags["orders.slots"] = slots
        flags.changed()
        assert len(app.before_request_funcs[None]) == asked
