"""Work beside requests: bounded, on threads that are kept, under the request's name but without its deadline."""

import threading

from costlab.service import context
from services.cache_proxy.background import Background
from tests.conditions import eventually


def test_a_task_runs_for_the_current_request_without_its_deadline():
    background, seen = Background(1), []
    context.enter(context.Request("id-1", deadline=1.0, traceparent="00-x"))
    background.run(lambda: seen.append(context.current()))
    context.enter(None)
    eventually(lambda: seen)
    assert (seen[0].request_id, seen[0].deadline, seen[0].traceparent) == ("id-1", None, "00-x")
    background.stop()


def test_no_more_than_its_size_run_at_once_and_there_is_room_again_afterwards():
    background, gate = Background(2), threading.Event()
    assert [background.run(gate.wait) for _ in range(3)] == [True, True, False]
    gate.set()
    eventually(lambda: background.run(gate.wait))
    background.stop()


def test_threads_are_kept_for_the_next_task():
    background, seen = Background(8), []
    for number in range(1, 20):
        background.run(lambda: seen.append(threading.current_thread()))
        eventually(lambda number=number: len(seen) == number and background._idle._value == 1)
    assert len(set(seen)) == 1
    background.stop()


def test_a_task_that_fails_does_not_take_its_thread_along():
    background, seen = Background(1), []
    background.run(lambda: 1 / 0)
    eventually(lambda: background.run(lambda: seen.append(1)))
    eventually(lambda: seen)
    background.stop()


def test_threads_end_when_it_stops():
    background = Background(2)
    background.run(lambda: None)
    background.stop()
    eventually(lambda: not any(thread.is_alive() for thread in background._threads))
