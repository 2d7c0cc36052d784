"""Redis killed, hung, restarted: the proxy serves from the origin, in bounded time, and heals by itself."""

import time

import pytest
from prometheus_client import REGISTRY

from services.cache_proxy.cache_store import ANSWER_SECONDS, RETRY_SECONDS
from services.cache_proxy.strategies import STRATEGIES
from tests.conditions import eventually


def errors():
    return REGISTRY.get_sample_value("costlab_cache_requests_total", {"outcome": "error"}) or 0


@pytest.fixture(params=[name for name, strategy in STRATEGIES.items() if strategy.looks])
def killed(stack, server, request):
    stack.set(strategy=request.param)
    stack.get("/users/7")
    server.kill()
    yield stack
    server.start()


@pytest.fixture(params=[name for name, strategy in STRATEGIES.items() if strategy.looks])
def hung(stack, server, request):
    stack.set(strategy=request.param)
    stack.get("/users/7")
    server.pause()
    yield stack
    server.resume()


def test_without_redis_every_get_is_answered_by_the_origin(killed):
    for _ in range(20):
        answer = killed.get("/users/7")
        assert (answer.status_code, answer.json) == (200, {"version": 1})
        assert answer.headers["Cache-Status"] == "costlab; fwd=bypass; detail=redis-away"


def test_without_redis_requests_are_counted_as_errors(killed):
    before = errors()
    for _ in range(5):
        killed.get("/users/7")
    assert errors() == before + 5


def test_without_redis_the_proxy_is_ready_because_it_serves(killed):
    assert killed.get("/readyz").status_code == 200


def test_a_redis_that_hangs_costs_one_request_its_time_limit_and_the_others_nothing(hung):
    """50 requests would take 50 time limits if each one waited for Redis."""
    started = time.monotonic()
    for _ in range(50):
        assert hung.get("/users/7").status_code == 200
    waited = time.monotonic() - started
    assert waited < 25 * ANSWER_SECONDS


def test_the_cache_is_used_again_soon_after_redis_is_back(stack, server):
    stack.get("/users/7")
    server.kill()
    stack.get("/users/7")
    server.start()
    eventually(lambda: stack.status("/users/7").startswith("hit"), within=RETRY_SECONDS + 5)


def test_invalidations_are_heard_again_after_redis_is_back(stack, server):
    server.kill()
    stack.get("/users/7")
    server.start()
    eventually(lambda: stack.status("/users/7").startswith("hit"), within=RETRY_SECONDS + 5)
    stack.change(2, "/users/7")
    assert stack.version("/users/7") == 2


def test_a_redis_that_lost_everything_is_filled_anew(stack, server):
    stack.get("/users/7")
    server.forget()
    server.start()
    eventually(lambda: stack.status("/users/7").startswith("hit"), within=RETRY_SECONDS + 5)


def test_the_cache_survives_more_outages_than_a_client_has_connections(stack, server):
    """redis-py's pool counts the connections it ever made, and after 100 would make no more."""
    store = stack.app.extensions["costlab"].door.public._cache
    for _ in range(120):
        store.close()
        assert store.begin("/users/7")
