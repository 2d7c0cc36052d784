"""Invalidation is best effort: it tells the cache what changed, and never costs the client an error or a long wait."""

import json
import socket
import time

import pytest
from redis import Redis

from costlab.service.invalidation import CHANNEL, Invalidation


@pytest.fixture
def listening():
    """A port where somebody listens and never answers, as Redis does when it hangs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed():
    """A port where nobody listens, kept from anybody else's use."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_changed_paths_are_one_message(redis_url):
    with Redis.from_url(redis_url) as redis, redis.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(CHANNEL)
        assert listener.get_message(timeout=5) is None  # the confirmation, which is swallowed
        Invalidation(redis_url).publish("/orders/1", "/orders/stats")
        assert json.loads(listener.get_message(timeout=5)["data"]) == ["/orders/1", "/orders/stats"]


def test_redis_away_is_logged_and_nothing_more(closed, caplog):
    Invalidation(f"redis://127.0.0.1:{closed}/0").publish("/orders/1")
    assert "invalidation.lost" in caplog.text


def test_redis_that_hangs_is_not_waited_for(listening, caplog):
    """Two tries of 0.2 s; the limit leaves room for a busy machine."""
    started = time.monotonic()
    Invalidation(f"redis://127.0.0.1:{listening}/0").publish("/orders/1")
    assert time.monotonic() - started < 3
    assert "invalidation.lost" in caplog.text
