"""Negative caching: a 404 is kept as long as the flag says, and no longer than it stays true."""

import pytest
from hypothesis import given
from hypothesis import strategies as some
from werkzeug import Response

from costlab.service import context
from costlab.service.fault_edges import refuse
from services.cache_proxy import negative_caching
from services.cache_proxy.entry import Entry
from services.cache_proxy.strategies import STRATEGIES
from tests.conditions import eventually
from tests.services.cache_proxy.conftest import counted, version

_SECONDS = some.floats(min_value=0, max_value=1e4)
DOCUMENT = b'{"title":"Not Found","status":404,"request_id":"of the first who asked"}'


@given(_SECONDS, _SECONDS, _SECONDS)
def test_a_404_is_never_served_that_is_older_than_the_flag_said_then_or_says_now(age, then, now):
    kept = negative_caching.lifetime(then)
    entry = Entry(b"8 bytes.", 0.0, kept.fresh, kept.keep, 0.1, 404, [], b"")
    assert negative_caching.is_fresh(entry, age, now) == (age < min(then, now))


def test_nothing_is_fresh_at_zero():
    entry = Entry(b"8 bytes.", 0.0, 5.0, 5.0, 0.1, 404, [], b"")
    assert not negative_caching.is_fresh(entry, 0.0, 0)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"title":"x"}', b"\xff"])
def test_a_body_that_names_no_request_is_left_alone(body):
    context.enter(context.Request("mine"))
    assert negative_caching.body(body) == body
    context.enter(None)


@pytest.fixture
def nothing(stack):
    """An origin that has nothing; what it has not is kept for 5 s."""
    stack.set(negative_ttl=5)
    stack.origin.answer = lambda request: Response(DOCUMENT, 404, content_type="application/problem+json")
    yield stack
    stack.set(negative_ttl=0)


def test_a_404_is_asked_for_once_in_its_time(nothing):
    before = counted("negative_hits"), counted("requests", outcome="hit")
    assert nothing.status("/users/7") == "fwd=uri-miss; fwd-status=404; stored"
    answer = nothing.get("/users/7")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
    assert answer.headers["Cache-Status"] == "costlab; hit; ttl=5; detail=negative"
    assert len(nothing.origin.asked) == 1
    assert (counted("negative_hits"), counted("requests", outcome="hit")) == (before[0] + 1, before[1] + 1)
    nothing.clock.forward(5)
    assert nothing.status("/users/7") == "fwd=uri-miss; fwd-status=404; stored"


def test_it_names_the_request_it_answers_and_not_the_one_it_was_stored_for(nothing):
    nothing.get("/users/7")
    assert nothing.get("/users/7", X_Request_Id="mine").json == {
        "title": "Not Found",
        "status": 404,
        "request_id": "mine",
    }


def test_it_is_invalidated_like_any_other_path(nothing):
    nothing.get("/users/7")
    nothing.change(2, "/users/7")
    assert nothing.version("/users/7") == 2


def test_a_lowered_flag_is_in_force_for_what_is_stored(nothing):
    nothing.get("/users/7")
    nothing.set(negative_ttl=0)
    assert nothing.status("/users/7") == "fwd=uri-miss; fwd-status=404"


@pytest.mark.parametrize("status", [400, 403, 410, 429, 500, 503])
def test_other_failures_are_not_kept(nothing, status):
    nothing.origin.answer = lambda request: Response(b"{}", status)
    assert nothing.status("/users/7") == f"fwd=uri-miss; fwd-status={status}"
    assert nothing.status("/users/7") == f"fwd=uri-miss; fwd-status={status}"


def test_what_the_origin_says_about_keeping_it_counts_for_a_404_too(nothing):
    nothing.origin.answer = lambda request: Response(DOCUMENT, 404, {"Cache-Control": "no-store"})
    nothing.get("/users/7")
    assert nothing.status("/users/7") == "fwd=uri-miss; fwd-status=404"


def test_a_404_that_a_fault_has_made_ends_with_the_fault(nothing):
    nothing.origin.answer = lambda request: lambda environ, start: refuse(404, start)
    assert nothing.status("/users/7") == "fwd=uri-miss; fwd-status=404"
    nothing.origin.answer = lambda request: version(1)
    assert nothing.version("/users/7") == 1


@pytest.mark.parametrize("strategy", [name for name, strategy in STRATEGIES.items() if strategy.looks])
def test_every_strategy_keeps_a_404_for_its_own_time_only(nothing, strategy):
    """Not for cache.ttl, not for the stale window, and not early either."""
    nothing.set(strategy=strategy)
    nothing.get("/users/7")
    nothing.clock.forward(4.9)
    assert nothing.status("/users/7") == "hit; ttl=0; detail=negative"
    nothing.clock.forward(0.1)
    assert "stored" in nothing.status("/users/7")
    assert len(nothing.origin.asked) == 2


@pytest.mark.parametrize("strategy", ["single_flight", "lease"])
def test_callers_at_once_share_a_404(nothing, strategy):
    nothing.set(strategy=strategy)
    nothing.origin.gate.clear()
    with nothing.asking(3, "/users/7") as answers:
        eventually(lambda: nothing.origin.asked)
    assert [answer.status_code for answer in answers] == [404] * 3
    assert len(nothing.origin.asked) == 1
