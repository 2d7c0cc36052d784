"""Hedging: when a second request is sent, who wins, what the cap allows, and what nobody waits for."""

import subprocess
import sys
import threading
import time
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.resilience.retry_budget import BURST
from costlab.service import context, metrics
from costlab.service.http_client import Answer
from costlab.service.problem import BadGateway, GatewayTimeout
from gateway import daemon_pool, hedge
from gateway.hedge import Hedger
from tests.conditions import eventually

LATE = 0.0001  # s; every call that waits for something takes longer
names = (f"upstream-{number}" for number in count())


def flags(cap=1.0, ms=LATE * 1000):
    return {"gateway.hedge_cap": cap, "gateway.hedge_ms": ms}


@pytest.fixture
def name():
    """An upstream whose metrics are at nought."""
    return next(names)


def counted(name):
    return {o: metrics.HEDGES.labels(name, o)._value.get() for o in ("sent", "won", "capped", "busy")}


class Ordered(Hedger):
    """Sends the second attempt only once the first has reached the upstream, however slow the machine is."""

    def _second(self, upstream, race, call):
        eventually(lambda: call.calls > 0)
        return super()._second(upstream, race, call)


class Upstream:
    """Answers each call by the next of ``script``: an answer, an error, or an event to wait for before 200."""

    def __init__(self, *script):
        self.calls = 0
        self.ended = 0
        self._script = list(script)
        self._lock = threading.Lock()

    def __call__(self):
        with self._lock:
            self.calls += 1
            step = self._script.pop(0)
        try:
            if isinstance(step, threading.Event):
                assert step.wait(30)
                return Answer(200)
            if isinstance(step, Exception):
                raise step
            return step
        finally:
            self.ended += 1


def test_the_second_answer_wins_and_nobody_waits_for_the_first(name):
    stalled = threading.Event()
    upstream = Upstream(stalled, Answer(203))
    assert Ordered(flags()).run("fixed", name, upstream).status == 203
    assert (upstream.calls, upstream.ended) == (2, 1)
    assert counted(name) == {"sent": 1, "won": 1, "capped": 0, "busy": 0}
    stalled.set()
    eventually(lambda: upstream.ended == 2)


def test_an_answer_in_time_is_not_asked_for_again(name):
    upstream = Upstream(Answer(200))
    assert Hedger(flags(ms=10_000)).run("fixed", name, upstream).status == 200
    assert upstream.calls == 1
    assert counted(name)["sent"] == 0


def test_a_failure_in_time_is_told_at_once_because_hedging_is_no_retry(name):
    upstream = Upstream(BadGateway("gone"))
    with pytest.raises(BadGateway):
        Hedger(flags(ms=10_000)).run("fixed", name, upstream)
    assert upstream.calls == 1


def test_when_one_of_two_fails_the_other_is_awaited(name):
    stalled = threading.Event()
    hedger, upstream = Ordered(flags()), Upstream(stalled, BadGateway("gone"))
    asked = Asked(lambda: hedger.run("fixed", name, upstream))
    eventually(lambda: upstream.ended == 1)
    stalled.set()
    assert asked.result().status == 200
    assert counted(name)["won"] == 0


def late(name, first, second):
    """What is taken of a first attempt and a hedge that ended like that, in this order."""
    race, hedger = hedge._Race(), Hedger(flags())
    race.attempt(Upstream(first), hedge=False)()
    race.attempt(Upstream(second), hedge=True)()
    hedger._second = lambda *arguments: True
    return hedger._late(hedge._Upstream(name), race, Upstream())


@pytest.mark.parametrize("second", [GatewayTimeout("second"), Answer(500)])
def test_when_both_fail_the_failure_that_came_first_is_told(name, second):
    assert str(late(name, BadGateway("first"), second).error) == "first"
    assert late(name, Answer(503), second).answer.status == 503
    assert counted(name)["won"] == 0


@pytest.mark.parametrize("status", [500, 503])
def test_an_answer_of_5xx_loses_to_a_good_one_that_was_on_its_way(name, status):
    arrived = late(name, Answer(status), Answer(404))
    assert (arrived.answer.status, counted(name)["won"]) == (404, 1)


@pytest.mark.parametrize("status", [500, 503])
def test_a_hedge_that_is_answered_5xx_at_once_does_not_turn_a_good_answer_into_an_error(name, status):
    stalled = threading.Event()
    hedger, upstream = Ordered(flags()), Upstream(stalled, Answer(status))
    asked = Asked(lambda: hedger.run("fixed", name, upstream))
    eventually(lambda: upstream.ended == 1)
    stalled.set()
    assert asked.result().status == 200
    assert counted(name)["won"] == 0


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 60), st.sampled_from([0.01, 0.05, 0.3, 1.0]))
def test_extra_requests_never_exceed_cap_times_requests_plus_burst(requests, cap):
    """Every request is late: as many as allowed are sent twice, and no more."""
    name, hedger, calls = next(names), Hedger(flags(cap)), 0
    second, decided = hedger._second, threading.Event()

    def deciding(*arguments):
        sent = second(*arguments)
        decided.set()
        return sent

    def call():
        nonlocal calls
        calls += 1
        assert decided.wait(30)
        return Answer(200)

    hedger._second = deciding
    for number in range(1, requests + 1):
        decided.clear()
        hedger.run("fixed", name, call)
        assert counted(name)["sent"] <= cap * number + BURST + 1e-6
    eventually(lambda: calls == requests + counted(name)["sent"])
    assert counted(name)["sent"] + counted(name)["capped"] == requests
    assert counted(name)["sent"] >= min(requests, BURST)


@pytest.mark.parametrize("remaining", [-1, 0.001])
def test_nothing_is_sent_after_the_deadline(name, remaining):
    """The delay would end beyond it: the call is made once, and no thread is asked."""
    upstream = Upstream(Answer(200))
    context.enter(context.Request("id", deadline=time.monotonic() + remaining))
    try:
        Hedger(flags(ms=50)).run("fixed", name, upstream)
    finally:
        context.enter(None)
    assert upstream.calls == 1


def test_a_deadline_that_ends_during_the_delay_ends_the_hedge(name):
    hedger, race = Hedger(flags()), hedge._Race()
    context.enter(context.Request("id", deadline=time.monotonic() - 1))
    try:
        assert not hedger._second(hedge._Upstream(name), race, Upstream())
    finally:
        context.enter(None)
    assert counted(name) == dict.fromkeys(("sent", "won", "capped", "busy"), 0)


def test_p95_hedges_once_it_knows_how_long_answers_take(name):
    hedger, stalled = Ordered(flags()), threading.Event()
    for _ in range(20):
        hedger.run("p95", name, Upstream(Answer(200)))
    assert counted(name)["sent"] == 0
    assert hedger.run("p95", name, Upstream(stalled, Answer(203))).status == 203
    assert counted(name)["sent"] == 1
    stalled.set()


def test_how_fast_an_upstream_fails_says_nothing_about_how_long_its_answers_take(name):
    hedger = Hedger(flags())
    for _ in range(40):
        hedger.run("p95", name, Upstream(Answer(503)))
    assert hedger._upstreams[name].latency.value is None


def test_with_every_thread_busy_calls_are_made_without_hedge(name, monkeypatch):
    monkeypatch.setattr(hedge, "POOL_SIZE", 1)
    hedger, stalled = Ordered(flags()), threading.Event()
    upstream = Upstream(stalled, Answer(201))
    first = Asked(lambda: hedger.run("fixed", name, upstream))
    eventually(lambda: counted(name)["busy"] == 1)
    assert hedger.run("fixed", name, upstream).status == 201
    assert counted(name)["busy"] == 2
    stalled.set()
    assert first.result().status == 200


def test_each_attempt_works_on_a_copy_of_the_request(name):
    given, stalled, seen = context.Request("id"), threading.Event(), []

    def call():
        seen.append(context.current())
        if len(seen) == 1:
            assert stalled.wait(30)
        return Answer(200)

    context.enter(given)
    try:
        Hedger(flags()).run("fixed", name, call)
    finally:
        context.enter(None)
        stalled.set()
    assert [request.request_id for request in seen] == ["id", "id"]
    assert len({id(request) for request in (given, *seen)}) == 3


def test_a_thread_of_the_pool_is_used_again():
    pool, done = daemon_pool.DaemonPool(1), threading.Semaphore(0)
    for _ in range(3):
        eventually(lambda: pool.submit(done.release))
        assert done.acquire(timeout=10)
    assert pool._threads == 1


def test_a_process_ends_although_a_loser_is_still_under_way():
    program = (
        "import threading\n"
        "from gateway.daemon_pool import DaemonPool\n"
        "begun = threading.Event()\n"
        "DaemonPool(1).submit(lambda: (begun.set(), threading.Event().wait()))\n"
        "begun.wait(10)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=30).returncode == 0


class Asked:
    """A call in a thread of its own."""

    def __init__(self, call):
        self._answers = []
        self._thread = threading.Thread(target=lambda: self._answers.append(call()), daemon=True)
        self._thread.start()

    def result(self):
        self._thread.join(10)
        return self._answers[0]
