"""Best effort: who tells Redis something on the way waits a share of his time, and after a time-out nobody does."""

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from costlab.service import context, redis_client
from costlab.service.best_effort import LEAST_SECONDS, BestEffort, patience
from costlab.service.fault_edges import Edge
from tests.hung_server import HungServer


@pytest.fixture
def hung():
    with closing(HungServer()) as server:
        yield server


@pytest.fixture
def hanging(hung):
    with redis_client.connect(hung.url, 0.06) as client:
        yield BestEffort(client)


@pytest.fixture
def within():
    """``within(3)``: a request that has 3 s left is being worked on, until the test ends."""
    yield lambda seconds: context.enter(context.Request("id", deadline=time.monotonic() + seconds))
    context.enter(None)


def ask(best_effort, error=None):
    if error is None:
        with best_effort.asked() as redis:
            return redis.ping()
    with pytest.raises(error), best_effort.asked() as redis:
        redis.ping()
    return None


def let_the_pause_pass(best_effort):
    storage = best_effort._breaker._breaker._state_storage
    storage.opened_at = datetime.now(UTC) - timedelta(seconds=60)


@pytest.mark.parametrize(
    ("left", "seconds"), [(None, 0.5), (60, 0.5), (0.6, 0.3), (0.1, LEAST_SECONDS), (0.0, LEAST_SECONDS)]
)
def test_half_of_the_time_left_is_waited_and_50_ms_at_least(left, seconds):
    assert patience(0.5, left) == seconds


def test_a_client_that_is_less_patient_than_that_stays_so():
    assert patience(0.02, left=0.0) == 0.02


@pytest.mark.parametrize("edge", [None, Edge("redis")])
def test_a_command_waits_no_longer_than_the_request_it_is_sent_for_allows(redis_url, within, edge):
    with redis_client.connect(redis_url, 30, *([edge] if edge else [])) as client:
        best_effort = BestEffort(client)
        within(4)
        assert ask(best_effort)
        [connection] = client.connection_pool._available_connections
        assert connection._sock.gettimeout() <= connection.patience() + 2 <= 4
        context.enter(None)
        assert ask(best_effort)
        assert connection._sock.gettimeout() == connection.patience() == 30


def test_after_a_timeout_redis_is_not_asked_until_the_pause_is_over(hung, hanging):
    ask(hanging, RedisTimeoutError)
    ask(hanging, RedisConnectionError)
    assert hung.connections() == 1
    let_the_pause_pass(hanging)
    ask(hanging, RedisTimeoutError)
    ask(hanging, RedisConnectionError)
    assert hung.connections() == 1


def test_a_request_with_next_to_no_time_does_not_make_the_others_pause(hung, hanging, within):
    within(0)
    ask(hanging, RedisTimeoutError)
    context.enter(None)
    ask(hanging, RedisTimeoutError)
    assert hung.connections() == 2


def test_a_redis_that_refuses_is_asked_every_time_because_that_costs_nothing(hung):
    hung.close()
    with redis_client.connect(hung.url) as client:
        best_effort = BestEffort(client)
        for _ in range(3):
            with pytest.raises(RedisConnectionError, match="refused"), best_effort.asked() as redis:
                redis.ping()


def test_an_error_that_redis_answers_is_no_reason_to_pause(redis_url, redis: Redis):
    redis.set("word", "no number")
    with redis_client.connect(redis_url) as client:
        best_effort = BestEffort(client)
        with pytest.raises(ResponseError), best_effort.asked() as asked:
            asked.incr("word")
        assert ask(best_effort)
