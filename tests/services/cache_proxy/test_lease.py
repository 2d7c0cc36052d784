"""Strategy lease: one caller of all processes asks the origin; whoever holds the lease and dies, frees it in time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as some
from redis import Redis
from werkzeug import Response

from services.cache_proxy.entry import Entry
from services.cache_proxy.strategies.lease import LEASE_SECONDS, Lease
from services.cache_proxy.strategy import Action, Lifetime
from tests.conditions import eventually
from tests.services.cache_proxy.conftest import counted, version

KEY = "cache:lease:/users/7"
_SECONDS = some.floats(min_value=0, max_value=100)


@given(_SECONDS, _SECONDS, _SECONDS, _SECONDS, _SECONDS)
def test_nothing_is_served_stale_beyond_the_window_nor_beyond_its_hard_expiry(age, ttl, window, then_ttl, then_window):
    """Whatever the flags were when it was stored, and whatever they are now."""
    stored = Lease().lifetime(then_ttl, then_window, cost=0.1)
    entry = Entry(b"8 bytes.", 0.0, stored.fresh, stored.keep, 0.1, 200, [], b"{}")
    action = Lease().on_read(entry, age, ttl, window)
    assert (action is Action.SERVE) == (age < min(ttl, then_ttl))
    assert (action is Action.LEASE) == (age >= min(ttl + window, then_ttl + then_window))


def test_nothing_stored_takes_the_lease():
    assert Lease().on_read(None, 1000.0, ttl=30, window=10) is Action.LEASE


def test_an_answer_is_kept_for_the_stale_window_too():
    assert Lease().lifetime(30, window=10, cost=1) == Lifetime(fresh=30, keep=40)


def test_one_of_all_who_try_gets_the_lease_until_it_is_given_back(stack):
    cache = stack.filling._cache
    token = cache.lease("/users/7", "/users/7", 3.0)[0]
    assert token
    assert cache.lease("/users/7", "/users/7", 3.0)[0] is None
    assert cache.lease("/users/8", "/users/8", 3.0)[0] is not None
    cache.release("/users/7", token)
    assert cache.lease("/users/7", "/users/7", 3.0)[0] is not None


def test_nobody_gives_back_a_lease_that_is_somebody_elses_by_now(stack):
    cache = stack.filling._cache
    cache.lease("/users/7", "/users/7", 3.0)
    cache.release("/users/7", b"expired.")
    assert cache.lease("/users/7", "/users/7", 3.0)[0] is None


@pytest.fixture
def leased(stack):
    """Strategy lease, and an origin that keeps silent."""
    stack.set(strategy="lease")
    stack.origin.gate.clear()
    return stack


def test_one_caller_of_two_processes_asks_and_all_get_the_answer(leased, second):
    second.set(strategy="lease")
    before = counted("lease_waits"), counted("requests", outcome="coalesced")
    with leased.asking(4, "/users/7") as answers, second.asking(4, "/users/7") as others:
        eventually(lambda: counted("lease_waits") == before[0] + 7)
    assert [answer.json for answer in (*answers, *others)] == [{"version": 1}] * 8
    assert leased.origin.targets() == ["/users/7"]
    assert counted("requests", outcome="coalesced") == before[1] + 7


def test_who_does_not_hold_the_lease_gets_the_stale_answer_at_once(leased, second):
    second.set(strategy="lease", stale_window=10)
    leased.origin.gate.set()
    leased.get("/users/7")
    leased.clock.forward(31)
    leased.origin.answer = lambda request: version(2)
    leased.origin.gate.clear()
    before = counted("stale_served")
    with leased.asking(1, "/users/7") as answers:
        eventually(lambda: len(leased.origin.asked) == 2)
        stale = second.get("/users/7")
    assert (stale.json, stale.headers["Age"]) == ({"version": 1}, "31")
    assert stale.headers["Cache-Status"] == "costlab; hit; ttl=-1; detail=stale"
    assert counted("stale_served") == before + 1
    assert answers[0].json == {"version": 2}
    assert second.version("/users/7") == 2


def test_beyond_the_window_everybody_waits(leased):
    leased.origin.gate.set()
    leased.get("/users/7")
    leased.clock.forward(40)
    leased.origin.gate.clear()
    before = counted("lease_waits")
    with leased.asking(2, "/users/7") as answers:
        eventually(lambda: counted("lease_waits") == before + 1)
    assert [answer.json for answer in answers] == [{"version": 1}] * 2


def test_a_holder_that_has_died_holds_the_others_up_for_no_longer_than_its_lease(leased):
    """Its process is gone: nobody will store an answer, nobody will give the lease back."""
    leased.origin.gate.set()
    with Redis.from_url(leased.redis_url) as redis:
        redis.set(KEY, b"the dead", px=300)
    with leased.asking(4, "/users/7") as answers:
        pass
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(leased.origin.asked) == 1


def test_a_lease_is_taken_for_no_longer_than_it_says_and_given_back_when_done(leased):
    with leased.asking(1, "/users/7"), Redis.from_url(leased.redis_url) as redis:
        eventually(lambda: leased.origin.asked)
        assert 0 < redis.pttl(KEY) <= 1000 * LEASE_SECONDS
        leased.origin.gate.set()
        eventually(lambda: not redis.exists(KEY))


def test_when_the_holder_fails_the_next_one_asks(leased):
    answers = iter([Response(b"{}", 503), version(2)])
    leased.origin.answer = lambda request: next(answers)
    before = counted("lease_waits")
    with leased.asking(3, "/users/7") as got:
        eventually(lambda: counted("lease_waits") == before + 2)
    assert sorted(answer.status_code for answer in got) == [200, 200, 503]
    assert len(leased.origin.asked) == 2


def test_a_waiter_with_a_shorter_deadline_gives_up_alone(leased):
    with leased.asking(2, "/users/7", X_Request_Timeout_Ms="10000") as answers:
        eventually(lambda: leased.origin.asked)
        started = time.monotonic()
        assert leased.get("/users/7", X_Request_Timeout_Ms="100").status_code == 504
        assert time.monotonic() - started < 5
        assert answers == []
    assert [answer.status_code for answer in answers] == [200] * 2
    assert len(leased.origin.asked) == 1


def test_a_holder_with_a_shorter_deadline_gives_up_alone_and_its_call_goes_on(leased):
    assert leased.get("/users/7", X_Request_Timeout_Ms="50").status_code == 504
    with leased.asking(2, "/users/7") as answers:
        eventually(lambda: counted("lease_waits") > 0)
    assert [answer.status_code for answer in answers] == [200] * 2
    assert len(leased.origin.asked) == 1


def test_a_change_is_seen_by_the_next_reader_also_when_an_old_fill_is_under_way(leased):
    with leased.asking(1, "/users/7"):
        eventually(lambda: leased.origin.asked)
        leased.change(2, "/users/7")
        leased.origin.gate.set()
        assert leased.version("/users/7") == 2


def test_waiters_go_to_the_origin_when_redis_is_lost(leased, server):
    with Redis.from_url(leased.redis_url) as redis:
        redis.set(KEY, b"somebody", px=60_000)
    leased.origin.gate.set()
    before = counted("lease_waits")
    with leased.asking(3, "/users/7") as answers:
        eventually(lambda: counted("lease_waits") == before + 3)
        server.kill()
    server.start()
    assert [answer.status_code for answer in answers] == [200] * 3
    assert {answer.headers["Cache-Status"] for answer in answers} == {"costlab; fwd=bypass; detail=redis-away"}


def test_who_takes_the_lease_after_the_answer_was_stored_serves_it(leased, monkeypatch):
    """This caller looked before the answer was stored, and takes the lease after it was given back."""
    leased.origin.gate.set()
    leased.get("/users/7")
    cache = leased.filling._cache
    look_up = cache.look_up
    monkeypatch.setattr(cache, "look_up", lambda path, target: (look_up(path, target)[0], None))
    assert leased.status("/users/7") == "hit; ttl=30"
    assert len(leased.origin.asked) == 1
    with Redis.from_url(leased.redis_url) as redis:
        assert not redis.exists(KEY)
