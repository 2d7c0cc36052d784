"""Strategy stale_while_revalidate: stale at once for a bounded time, one refresh behind it."""

import pytest
from hypothesis import given
from hypothesis import strategies as some
from redis import Redis
from werkzeug import Response

from services.cache_proxy.entry import Entry
from services.cache_proxy.strategies.stale_while_revalidate import StaleWhileRevalidate
from services.cache_proxy.strategy import Action, Lifetime
from tests.conditions import eventually
from tests.services.cache_proxy.conftest import counted, version

_SECONDS = some.floats(min_value=0, max_value=100)


@given(_SECONDS, _SECONDS, _SECONDS, _SECONDS, _SECONDS)
def test_nothing_is_served_that_is_older_than_ttl_and_stale_window(age, ttl, window, then_ttl, then_window):
    """Neither those at the time it was stored, nor those of now."""
    strategy = StaleWhileRevalidate()
    stored = strategy.lifetime(then_ttl, then_window, cost=0.1)
    entry = Entry(b"8 bytes.", 0.0, stored.fresh, stored.keep, 0.1, 200, [], b"{}")
    action = strategy.on_read(entry, age, ttl, window)
    assert (action is Action.SERVE) == (age < min(ttl, then_ttl))
    assert (action is Action.FILL) == (age >= min(ttl + window, then_ttl + then_window))


def test_nothing_stored_is_filled():
    assert StaleWhileRevalidate().on_read(None, 1000.0, ttl=30, window=10) is Action.FILL


def test_an_answer_is_kept_for_the_stale_window_too():
    assert StaleWhileRevalidate().lifetime(30, window=10, cost=1) == Lifetime(fresh=30, keep=40)


@pytest.fixture
def stale(stack):
    """Version 1 was stored 31 s ago under ttl 30 s and a window of 10 s; the origin has version 2."""
    stack.set(strategy="stale_while_revalidate", stale_window=10)
    stack.get("/users/7")
    stack.clock.forward(31)
    stack.origin.answer = lambda request: version(2)
    return stack


def test_a_stale_answer_is_served_at_once_and_refreshed_behind(stale):
    before = counted("stale_served"), counted("refreshes"), counted("requests", outcome="hit")
    stale.origin.gate.clear()
    answer = stale.get("/users/7")
    assert (answer.json, answer.headers["Age"]) == ({"version": 1}, "31")
    assert answer.headers["Cache-Status"] == "costlab; hit; ttl=-1; detail=stale"
    stale.origin.gate.set()
    eventually(lambda: stale.version("/users/7") == 2)
    assert stale.status("/users/7") == "hit; ttl=30"
    assert counted("refreshes") == before[1] + 1
    assert counted("stale_served") > before[0]
    assert counted("requests", outcome="hit") > before[2]


def test_one_refresh_runs_however_many_read_and_over_all_processes(stale, second):
    second.set(strategy="stale_while_revalidate")
    stale.origin.gate.clear()
    before = counted("refreshes")
    for one in (stale, second) * 5:
        assert one.version("/users/7") == 1
    eventually(lambda: not second.filling._refreshing)
    assert len(stale.origin.asked) == 2
    stale.origin.gate.set()
    eventually(lambda: second.version("/users/7") == 2)
    assert counted("refreshes") == before + 1


def test_at_the_end_of_the_window_the_reader_waits_for_a_new_answer(stale):
    stale.clock.forward(9)
    assert stale.status("/users/7") == "fwd=stale; stored"
    assert stale.version("/users/7") == 2


def test_redis_keeps_the_answer_until_its_hard_expiry_and_not_longer(stale, server):
    with Redis.from_url(server.url) as redis:
        assert 39_000 < redis.pttl("cache:entry:/users/7") <= 40_000


def test_the_origins_own_max_age_is_its_hard_expiry(stack):
    stack.set(strategy="stale_while_revalidate", stale_window=10)
    stack.origin.answer = lambda request: version(1, Cache_Control="max-age=5")
    stack.get("/users/7")
    stack.clock.forward(5)
    assert stack.status("/users/7") == "fwd=stale; stored"


def test_a_refresh_that_fails_leaves_the_stale_answer_and_the_next_reader_starts_another(stale):
    stale.origin.answer = lambda request: Response(b"{}", 503)
    assert stale.version("/users/7") == 1
    eventually(lambda: len(stale.origin.asked) == 2 and not stale.filling._refreshing)
    assert stale.version("/users/7") == 1
    eventually(lambda: len(stale.origin.asked) == 3)
    stale.clock.forward(9)
    eventually(lambda: not stale.filling._refreshing)
    assert stale.get("/users/7").status_code == 503


def test_a_change_is_never_served_stale(stale):
    stale.change(3, "/users/7")
    assert stale.version("/users/7") == 3


def test_a_refresh_that_read_the_origin_before_a_change_is_not_served_after_it(stale):
    stale.origin.gate.clear()
    stale.get("/users/7")
    eventually(lambda: len(stale.origin.asked) == 2)
    stale.change(3, "/users/7")
    stale.origin.gate.set()
    eventually(lambda: not stale.filling._refreshing)
    assert stale.version("/users/7") == 3


def test_without_room_for_a_refresh_the_stale_answer_is_served_all_the_same(stale, monkeypatch):
    monkeypatch.setattr(stale.filling._background, "run", lambda task: False)
    assert [stale.version("/users/7") for _ in range(2)] == [1, 1]
    monkeypatch.undo()
    stale.get("/users/7")
    eventually(lambda: stale.version("/users/7") == 2)


def test_a_lowered_window_is_in_force_for_what_is_stored(stale):
    stale.set(stale_window=0.5)
    assert stale.version("/users/7") == 2


def test_a_refresh_has_no_part_in_the_deadline_of_the_reader_who_started_it(stale):
    stale.origin.gate.clear()
    assert stale.get("/users/7", X_Request_Timeout_Ms="50").status_code == 200
    eventually(lambda: len(stale.origin.asked) == 2)
    assert int(stale.origin.asked[1].headers["X-Request-Timeout-Ms"]) > 1000
    stale.origin.gate.set()
    eventually(lambda: stale.version("/users/7") == 2)
