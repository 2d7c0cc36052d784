"""Load shedding with real threads: who gets in, who waits, who is refused, and what is counted."""

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from costlab.service import context, metrics
from costlab.service.http_client import Answer
from costlab.service.problem import GatewayTimeout, Unavailable
from gateway.shed import codel
from gateway.shed.codel import INTERVAL
from gateway.shed.shedder import Shedder
from tests.conditions import eventually

POLICIES = ("fixed", "gradient2", "codel", "adaptive_lifo")


class Flags(dict):
    """Flags as a service reads them, set by the test."""

    def __init__(self, policy, limit):
        super().__init__({"gateway.shed": policy, "gateway.shed_limit": limit})
        self.listeners = []

    def on_change(self, listener):
        self.listeners.append(listener)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def crowd():
    with ThreadPoolExecutor(32) as pool:
        yield pool


def count(policy, outcome):
    return metrics.SHED_REQUESTS.labels(policy, outcome)._value.get()


@contextlib.contextmanager
def occupied(shedder, policy, crowd, requests):
    """So many requests under way for the length of the block."""
    begun, done = threading.Semaphore(0), threading.Event()

    def call():
        begun.release()
        assert done.wait(30)
        return Answer(200)

    running = [crowd.submit(shedder.run, policy, call) for _ in range(requests)]
    for _ in running:
        assert begun.acquire(timeout=10)
    try:
        yield done
    finally:
        done.set()
        assert [future.result(10).status for future in running] == [200] * requests


@pytest.mark.parametrize("policy", POLICIES)
def test_in_flight_never_exceeds_the_limit(policy, crowd):
    shedder, limit = Shedder(Flags(policy, 3)), 8 if policy == "gradient2" else 3
    lock, inside, most = threading.Lock(), 0, 0

    def call():
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        with lock:
            inside -= 1
        return Answer(500)  # says nothing about latency: gradient2 stays at its first limit

    def ask(_):
        with contextlib.suppress(Unavailable):
            shedder.run(policy, call)

    list(crowd.map(ask, range(500)))
    assert 1 <= most <= limit
    assert shedder._room.in_flight == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_a_request_without_room_is_told_when_to_come_back(policy, crowd):
    shedder = Shedder(Flags(policy, 2))
    shed = count(policy, "shed")
    with occupied(shedder, policy, crowd, 8 if policy == "gradient2" else 2):
        with pytest.raises(Unavailable) as refused:
            shedder.run(policy, lambda: Answer(200))
        assert int(refused.value.headers["Retry-After"]) >= 1
    assert count(policy, "shed") == shed + 1
    assert shedder.run(policy, lambda: Answer(200)).status == 200


@pytest.mark.parametrize("policy", ["codel", "adaptive_lifo"])
def test_a_request_that_waits_is_served_when_there_is_room(policy, crowd, monkeypatch):
    monkeypatch.setattr(codel, "INTERVAL", 30)  # a slow machine shall shed nobody here
    shedder = Shedder(Flags(policy, 1))
    waited = metrics.SHED_QUEUE_SECONDS._sum.get()
    with occupied(shedder, policy, crowd, 1) as done:
        waiting = crowd.submit(shedder.run, policy, lambda: Answer(204))
        eventually(lambda: len(shedder._queue) == 1)
        done.set()
        assert waiting.result(10).status == 204
    assert metrics.SHED_QUEUE_SECONDS._sum.get() > waited


def test_room_that_a_larger_limit_makes_goes_to_those_who_wait(crowd, monkeypatch):
    monkeypatch.setattr(codel, "INTERVAL", 30)
    flags = Flags("codel", 1)
    shedder = Shedder(flags)
    with occupied(shedder, "codel", crowd, 1):
        waiting = crowd.submit(shedder.run, "codel", lambda: Answer(200))
        eventually(lambda: len(shedder._queue) == 1)
        flags["gateway.shed_limit"] = 2
        assert shedder.run("codel", lambda: Answer(200)).status == 200
        assert waiting.result(10).status == 200


def test_switched_off_those_who_wait_are_still_served(crowd, monkeypatch):
    monkeypatch.setattr(codel, "INTERVAL", 30)
    flags = Flags("adaptive_lifo", 1)
    shedder = Shedder(flags)
    with occupied(shedder, "adaptive_lifo", crowd, 1) as done:
        waiting = crowd.submit(shedder.run, "adaptive_lifo", lambda: Answer(200))
        eventually(lambda: len(shedder._queue) == 1)
        flags["gateway.shed"] = "off"
        done.set()
        assert waiting.result(10).status == 200


def test_no_wait_outlasts_the_deadline(crowd):
    """The interval would allow 100 ms; the request has none left."""
    shedder = Shedder(Flags("codel", 1), Clock())
    with occupied(shedder, "codel", crowd, 1):
        until = []
        shedder._wait = lambda waiter, latest: until.append(latest)
        context.enter(context.Request("id", deadline=time.monotonic() - 1))
        with pytest.raises(Unavailable):
            shedder.run("codel", lambda: Answer(200))
        context.enter(context.Request("id", deadline=time.monotonic() + 60))
        with pytest.raises(Unavailable):
            shedder.run("codel", lambda: Answer(200))
        context.enter(None)
    assert until == [Clock.now, Clock.now + INTERVAL]


def test_goodput_counts_good_answers_in_time():
    shedder, before = Shedder(Flags("fixed", 1)), metrics.GOODPUT._value.get()
    try:
        for deadline, status in ((60, 200), (60, 201), (60, 404), (60, 503), (-1, 200)):
            context.enter(context.Request("id", deadline=time.monotonic() + deadline))
            shedder.run("fixed", lambda status=status: Answer(status))
    finally:
        context.enter(None)
    assert metrics.GOODPUT._value.get() == before + 2


def test_a_call_that_raises_gives_its_room_back():
    shedder = Shedder(Flags("fixed", 1))

    def fails():
        raise GatewayTimeout("too slow")

    for _ in range(3):
        with pytest.raises(GatewayTimeout):
            shedder.run("fixed", fails)
    assert shedder.run("fixed", lambda: Answer(200)).status == 200


def test_gradient2_refuses_more_when_answers_take_longer():
    clock = Clock()
    shedder = Shedder(Flags("gradient2", 1), clock)

    def takes(seconds):
        clock.now += seconds
        return Answer(200)

    for _ in range(400):
        shedder.run("gradient2", lambda: takes(0.005))
    before = shedder._gradient.limit
    for _ in range(100):
        shedder.run("gradient2", lambda: takes(0.05))
    assert shedder._gradient.limit < before


def test_the_metric_shows_the_limit_in_force():
    flags = Flags("off", 7)
    Shedder(flags)
    shown = []
    for policy in ("fixed", "gradient2", "off"):
        flags["gateway.shed"] = policy
        for listener in flags.listeners:
            listener()
        shown.append(metrics.SHED_LIMIT._value.get())
    assert shown == [7, 8, 0]
