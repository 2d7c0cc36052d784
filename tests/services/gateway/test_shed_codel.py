"""CoDel: the queue, and adaptive LIFO on the same queue, with a clock of their own."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.shed import adaptive_lifo
from gateway.shed.codel import INTERVAL, TARGET, CoDelQueue

# One burst: how long until it comes, how many come, and the share of INTERVAL in which all of them are served.
BURSTS = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 20), st.floats(0.01, 0.99)), min_size=1, max_size=30)
# What happens next, and how many milliseconds later.
STEPS = st.lists(st.tuples(st.sampled_from(["push", "serve"]), st.integers(0, 60)), min_size=1, max_size=200)
TAKES = st.sampled_from([CoDelQueue.oldest, CoDelQueue.newest, adaptive_lifo.take])


def standing(start=1000.0):
    """A queue that has been stood in for an interval, by 0 and 1, who may still wait for a moment."""
    queue = CoDelQueue()
    queue.push(0, start)
    queue.push(1, start + 0.0001)
    return queue, start + INTERVAL


@given(BURSTS, TAKES)
def test_nothing_is_shed_while_the_queue_empties_at_least_once_per_interval(bursts, take):
    queue, now = CoDelQueue(), 1000.0
    for gap, count, share in bursts:
        now += gap
        until = [queue.push(number, now) for number in range(count)]
        served = [take(queue, now + INTERVAL * share * (number + 1) / count) for number in range(count)]
        assert sorted(served) == list(range(count))
        now += INTERVAL * share
        assert min(until) > now
        assert len(queue) == 0


@given(STEPS, TAKES)
def test_nobody_waits_longer_than_the_interval_and_nobody_is_served_after_being_shed(steps, take):
    queue, now, until = CoDelQueue(), 1000.0, {}
    for number, (step, pause) in enumerate(steps):
        now += pause / 1000
        if step == "push":
            until[number] = queue.push(number, now)
            assert now < until[number] <= now + INTERVAL
        else:
            served = take(queue, now)
            assert served is None or now < until.pop(served)


def test_a_queue_that_stands_gives_newcomers_the_target_only():
    queue, now = standing()
    assert queue.standing(now)
    assert queue.push(2, now) == now + TARGET


def test_a_queue_emptied_by_shedding_still_stands_until_somebody_is_served():
    queue, now = standing()
    queue.remove(0)
    queue.remove(1)
    assert queue.push(2, now) == now + TARGET
    assert queue.oldest(now + 0.001) == 2
    assert queue.push(3, now + 0.002) == now + 0.002 + INTERVAL


def test_a_request_that_finds_room_at_once_ends_a_standing_queue():
    queue, now = standing()
    queue.remove(0)
    queue.remove(1)
    queue.passed()
    assert queue.push(2, now) == now + INTERVAL


def test_who_may_wait_no_longer_is_passed_over():
    queue = CoDelQueue()
    queue.push(0, 1000.0)
    queue.push(1, 1000.05)
    assert queue.oldest(1000.0 + INTERVAL) == 1
    assert queue.oldest(1000.0 + INTERVAL) is None


@given(STEPS)
def test_adaptive_lifo_serves_the_newest_first_only_under_backlog(steps):
    queue, now, until = CoDelQueue(), 1000.0, {}
    for number, (step, pause) in enumerate(steps):
        now += pause / 1000
        if step == "push":
            until[number] = queue.push(number, now)
            continue
        backlog = queue.standing(now)
        waiting = [item for item, last in until.items() if now < last]
        served = adaptive_lifo.take(queue, now)
        assert served == ((waiting[-1] if backlog else waiting[0]) if waiting else None)
        # Whoever may wait no longer leaves, as a request that is shed does.
        for item in [served, *(item for item, last in until.items() if now >= last)]:
            until.pop(item, None)
            queue.remove(item)


def test_adaptive_lifo_turns_the_order_round_when_the_queue_begins_to_stand():
    queue = CoDelQueue()
    for number in range(4):
        queue.push(number, 1000.0 + number / 100)
    assert adaptive_lifo.take(queue, 1000.05) == 0
    assert adaptive_lifo.take(queue, 1000.0 + INTERVAL + 0.005) == 3
