"""Strategy single_flight: one origin call for n callers, whatever comes of it."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as some
from werkzeug import Response

from costlab.service.http_client import UpstreamUnreachable
from services.cache_proxy.entry import Entry
from services.cache_proxy.strategies.single_flight import Flights, SingleFlight
from services.cache_proxy.strategy import Action, Lifetime
from tests.conditions import eventually
from tests.services.cache_proxy.conftest import counted, version

CALLERS = 8


@given(some.lists(some.sampled_from("abc"), min_size=1), some.booleans())
def test_n_callers_make_one_call_per_key_and_share_what_comes_of_it(keys, fails):
    flights, calls = Flights(), []

    def call(key):
        calls.append(key)
        if fails:
            raise ConnectionError(key)
        return f"answer {key}"

    boarded = [(key, *flights.board(key)) for key in keys]
    for key, _, first in boarded:
        if first:
            flights.fly(key, lambda key=key: call(key))
    assert sorted(calls) == sorted(set(keys))
    for key, flight, _ in boarded:
        if fails:
            assert str(flight.exception(0)) == key
        else:
            assert flight.result(0) == f"answer {key}"


def test_after_a_flight_has_landed_the_next_caller_makes_a_new_one():
    flights = Flights()
    first, _ = flights.board("a")
    flights.fly("a", lambda: 1)
    second, new = flights.board("a")
    assert (first.result(0), new, second.done()) == (1, True, False)


def test_nobody_can_board_a_flight_that_has_its_result():
    """Whoever asks after a failure must not be handed that failure."""
    flights = Flights()
    flight, _ = flights.board("a")
    boarded = []
    flight.add_done_callback(lambda done: boarded.append(flights.board("a")))
    flights.fly("a", lambda: 1)
    assert boarded[0][0] is not flight


def test_what_is_fresh_is_served_and_what_is_not_is_joined():
    entry = Entry(b"8 bytes.", 1000.0, 30.0, 30.0, 0.01, 200, [], b"{}")
    assert SingleFlight().on_read(entry, 1029.9, ttl=30, window=10) is Action.SERVE
    assert SingleFlight().on_read(entry, 1030.0, ttl=30, window=10) is Action.JOIN
    assert SingleFlight().on_read(None, 1000.0, ttl=30, window=10) is Action.JOIN
    assert SingleFlight().lifetime(30, window=10, cost=1) == Lifetime(fresh=30, keep=30)


@pytest.fixture
def boarded(stack, monkeypatch):
    """Strategy single_flight, an origin that keeps silent, and how many callers have boarded a flight."""
    stack.set(strategy="single_flight")
    stack.origin.gate.clear()
    flights, boarded = stack.filling._flights, []
    board = flights.board
    monkeypatch.setattr(flights, "board", lambda key: (board(key), boarded.append(key))[0])
    return boarded


def test_n_callers_at_once_make_one_origin_call_and_get_the_same_answer(stack, boarded):
    before = counted("requests", outcome="coalesced"), counted("requests", outcome="miss")
    with stack.asking(CALLERS, "/users/7") as answers:
        eventually(lambda: len(boarded) == CALLERS)
    assert [(answer.status_code, answer.json) for answer in answers] == [(200, {"version": 1})] * CALLERS
    assert stack.origin.targets() == ["/users/7"]
    statuses = sorted(answer.headers["Cache-Status"] for answer in answers)
    collapsed = ["costlab; fwd=uri-miss; collapsed; stored"] * (CALLERS - 1)
    assert statuses == [*collapsed, "costlab; fwd=uri-miss; stored"]
    after = counted("requests", outcome="coalesced"), counted("requests", outcome="miss")
    assert after == (before[0] + CALLERS - 1, before[1] + 1)
    assert stack.status("/users/7") == "hit; ttl=30"


def test_when_the_origin_fails_all_get_its_error_and_the_next_one_asks_again(stack, boarded):
    stack.origin.answer = lambda request: Response(b"{}", 503, content_type="application/problem+json")
    with stack.asking(CALLERS, "/users/7") as answers:
        eventually(lambda: len(boarded) == CALLERS)
    assert [answer.status_code for answer in answers] == [503] * CALLERS
    assert len(stack.origin.asked) == 1
    stack.origin.answer = lambda request: version(2)
    assert stack.version("/users/7") == 2
    assert len(stack.origin.asked) == 2


def test_an_origin_that_gives_no_answer_is_502_for_all(stack, boarded, monkeypatch):
    def broken(target, headers):
        stack.origin.gate.wait(10)
        raise UpstreamUnreachable("users cannot be reached")

    monkeypatch.setattr(stack.app.extensions["costlab"].door.public._origins["users"], "get", broken)
    with stack.asking(3, "/users/7") as answers:
        eventually(lambda: len(boarded) == 3)
    assert [answer.status_code for answer in answers] == [502] * 3


def test_a_caller_with_a_shorter_deadline_gives_up_alone(stack, boarded):
    with stack.asking(3, "/users/7", X_Request_Timeout_Ms="10000") as answers:
        eventually(lambda: len(boarded) == 3)
        assert stack.get("/users/7", X_Request_Timeout_Ms="50").status_code == 504
        assert answers == []
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(stack.origin.asked) == 1


def test_also_when_it_is_the_one_who_came_first(stack, boarded):
    """The call is for all of them: it does not end with the patience of the caller who happened to make it."""
    impatient = []
    first = threading.Thread(
        target=lambda: impatient.append(stack.get("/users/7", X_Request_Timeout_Ms="500").status_code)
    )
    first.start()
    eventually(lambda: stack.origin.asked)
    with stack.asking(3, "/users/7", X_Request_Timeout_Ms="10000") as answers:
        first.join()
        assert impatient == [504]
        eventually(lambda: len(boarded) == 4)
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(stack.origin.asked) == 1


def test_the_answer_to_a_caller_who_gave_up_is_kept_for_the_next_one(stack, boarded):
    assert stack.get("/users/7", X_Request_Timeout_Ms="50").status_code == 504
    stack.origin.gate.set()
    eventually(lambda: stack.status("/users/7") == "hit; ttl=30")
    assert len(stack.origin.asked) == 1


@pytest.mark.parametrize("strategy", ["single_flight", "lease"])
def test_without_deadlines_everybody_waits_for_the_answer(stack, boarded, strategy):
    """Flag http.deadline decides about waiting for somebody else's call as about waiting for one's own."""
    stack.set_flags({"http.deadline": "off", "cache.strategy": strategy})
    with stack.asking(3, "/users/7", X_Request_Timeout_Ms="1") as answers:
        eventually(lambda: stack.origin.asked)
    assert [answer.status_code for answer in answers] == [200] * 3


def test_different_questions_do_not_wait_for_each_other(stack, boarded):
    with stack.asking(1, "/users/7"):
        eventually(lambda: stack.origin.asked)
        gate, stack.origin.gate = stack.origin.gate, threading.Event()
        stack.origin.gate.set()
        assert stack.version("/users/8") == 1
        gate.set()


def test_nobody_joins_a_call_that_was_made_before_a_change(stack, boarded):
    with stack.asking(1, "/users/7") as answers:
        eventually(lambda: stack.origin.asked)
        old, stack.origin.gate = stack.origin.gate, threading.Event()
        stack.origin.gate.set()
        stack.change(2, "/users/7")
        assert stack.version("/users/7") == 2
        old.set()
    assert [answer.json for answer in answers] == [{"version": 1}]


def test_who_boards_after_the_landing_finds_the_answer_instead_of_asking_again(stack, boarded, monkeypatch):
    """This caller looked before the answer was stored, and boards after the flight has landed."""
    stack.origin.gate.set()
    stack.get("/users/7")
    cache = stack.filling._cache
    look_up, looks = cache.look_up, []

    def too_early(path, target):
        looks.append(target)
        generation, entry = look_up(path, target)
        return generation, None if len(looks) == 1 else entry

    monkeypatch.setattr(cache, "look_up", too_early)
    assert stack.status("/users/7") == "hit; ttl=30"
    assert len(stack.origin.asked) == 1


def test_when_every_background_thread_is_busy_the_caller_makes_the_call(stack, boarded, monkeypatch):
    stack.origin.gate.set()
    monkeypatch.setattr(stack.filling._background, "run", lambda task: False)
    assert stack.status("/users/7") == "fwd=uri-miss; stored"
