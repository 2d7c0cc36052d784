"""Strategy xfetch: early by chance, never late."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some
from werkzeug import Response

from services.cache_proxy.entry import Entry
from services.cache_proxy.strategies import STRATEGIES
from services.cache_proxy.strategies.xfetch import XFetch
from services.cache_proxy.strategy import Action, Lifetime
from tests.services.cache_proxy.conftest import counted, version

_SECONDS = some.floats(min_value=0, max_value=1e4)
_CHANCES = some.floats(min_value=0, max_value=1, exclude_max=True)
# Of 1000 readers each draws another lot, evenly.
_LOTS = [(number + 0.5) / 1000 for number in range(1000)]


def entry(cost, stored_at=0.0, fresh=30.0):
    return Entry(b"8 bytes.", stored_at, fresh, fresh, cost, 200, [], b"{}")


def early_share(left, cost):
    """The share of readers who fetch when ``left`` seconds of the lifetime are left."""
    actions = [XFetch(lambda lot=lot: lot).on_read(entry(cost), 30.0 - left, ttl=30, window=10) for lot in _LOTS]
    return actions.count(Action.FILL_EARLY) / len(actions)


@given(_SECONDS, _SECONDS, _SECONDS, _SECONDS, _SECONDS, _CHANCES)
def test_nothing_is_ever_served_at_its_hard_expiry_or_later(stored_at, age, fresh, ttl, cost, chance):
    now = stored_at + age
    action = XFetch(lambda: chance).on_read(entry(cost, stored_at, fresh), now, ttl, window=10)
    if now >= stored_at + min(fresh, ttl):
        assert action is Action.FILL
    else:
        assert action in (Action.SERVE, Action.FILL_EARLY)


@given(_SECONDS, _SECONDS, _CHANCES)
def test_the_decision_is_the_published_formula(age, cost, chance):
    action = XFetch(lambda: chance).on_read(entry(cost), age, ttl=30, window=10)
    recompute = age - cost * math.log(1 - chance) >= 30
    assert (action is not Action.SERVE) == recompute


@pytest.mark.parametrize(("left", "cost"), [(1.0, 0.2), (0.2, 0.2), (0.4, 0.2), (5.0, 2.0)])
def test_the_chance_of_an_early_fetch_falls_exponentially_with_what_is_left_in_units_of_the_cost(left, cost):
    assert early_share(left, cost) == pytest.approx(math.exp(-left / cost), abs=0.002)


def test_the_dearer_a_fetch_the_earlier():
    assert early_share(1.0, cost=0.2) < early_share(1.0, cost=0.5) < early_share(1.0, cost=2.0)


def test_what_cost_nothing_is_never_fetched_early():
    assert early_share(0.001, cost=0.0) == 0


def test_nothing_stored_is_filled():
    assert XFetch().on_read(None, 1000.0, ttl=30, window=10) is Action.FILL


def test_lifetimes_are_those_of_ttl():
    assert XFetch().lifetime(30, window=10, cost=1) == Lifetime(fresh=30, keep=30)


@pytest.fixture
def early(stack, monkeypatch):
    """Strategy xfetch with an answer stored that took 2 s to make, 10 s ago; the next reader draws an early fetch."""

    def slow(request):
        stack.clock.forward(2)
        return version(1)

    stack.set(strategy="xfetch")
    stack.origin.answer = slow
    stack.get("/users/7")
    stack.origin.answer = lambda request: version(2)
    stack.clock.forward(8)
    monkeypatch.setattr(STRATEGIES["xfetch"], "_chance", lambda: 1 - math.exp(-11))  # ln gives 22 s
    return stack


def test_an_early_fetch_renews_the_answer_before_its_time(early):
    before = counted("early_recomputations"), counted("requests", outcome="miss")
    answer = early.get("/users/7")
    assert answer.json == {"version": 2}
    assert answer.headers["Cache-Status"] == "costlab; fwd=stale; detail=early; stored"
    assert (counted("early_recomputations"), counted("requests", outcome="miss")) == (before[0] + 1, before[1] + 1)
    assert early.get("/users/7").headers["Age"] == "0"


def test_who_draws_another_lot_is_served_meanwhile(early, monkeypatch):
    monkeypatch.setattr(STRATEGIES["xfetch"], "_chance", lambda: 0.5)
    assert early.status("/users/7") == "hit; ttl=20"


def test_an_early_fetch_that_fails_harms_nobody(early):
    early.origin.answer = lambda request: Response(b"{}", 503)
    answer = early.get("/users/7")
    assert (answer.status_code, answer.json) == (200, {"version": 1})
    assert answer.headers["Cache-Status"] == "costlab; hit; ttl=20"


def test_nor_does_one_that_gets_no_answer(early):
    early.origin.gate.clear()
    answer = early.get("/users/7", X_Request_Timeout_Ms="100")
    early.origin.gate.set()
    assert (answer.status_code, answer.json) == (200, {"version": 1})


def test_an_early_fetch_gets_half_of_the_time_so_that_the_stored_answer_is_not_too_late(early):
    """The caller's own deadline would end at the same moment as the fetch."""
    early.get("/users/7", X_Request_Timeout_Ms="10000")
    assert int(early.origin.asked[-1].headers["X-Request-Timeout-Ms"]) <= 5000


def test_a_fetch_that_has_nothing_else_to_fall_back_on_gets_all_of_the_time(early):
    early.get("/users/8", X_Request_Timeout_Ms="60000")
    assert int(early.origin.asked[-1].headers["X-Request-Timeout-Ms"]) > 15_000


def test_an_early_fetch_that_fails_after_the_expiry_is_a_failure(early):
    def failing(request):
        early.clock.forward(20)
        return Response(b"{}", 503)

    early.origin.answer = failing
    assert early.get("/users/7").status_code == 503


def test_an_early_fetch_that_fails_brings_nothing_back_that_has_changed_meanwhile(early):
    def failing(request):
        early.invalidate("/users/7")
        return Response(b"{}", 503)

    early.origin.answer = failing
    assert early.get("/users/7").status_code == 503
