"""Invalidation is best effort: it tells the cache what changed, and never costs the client an error or a long wait."""

import json
import socket
from contextlib import closing

import pytest
from redis import Redis

from costlab.service.invalidation import CHANNEL, Invalidation
from tests.hung_server import HungServer


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


def test_redis_that_hangs_is_waited_for_once_and_what_changes_next_is_lost_without_a_wait(caplog):
    with closing(HungServer()) as hung:
        invalidation = Invalidation(hung.url)
        for _ in range(3):
            invalidation.publish("/orders/1")
        assert hung.connections() == 1
    assert [record.message for record in caplog.records] == ["invalidation.lost"] * 3
