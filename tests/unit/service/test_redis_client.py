"""The Redis client: one reconnect, and nothing that adds up behind the caller's back."""

from contextlib import closing

import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

from costlab.service import redis_client
from tests.hung_server import HungServer


def test_what_timed_out_is_not_sent_again():
    with closing(HungServer()) as hung, redis_client.connect(hung.url, 0.05) as client:
        with pytest.raises(RedisTimeoutError):
            client.ping()
        assert hung.connections() == 1


def test_an_idle_connection_that_was_closed_is_replaced(redis, redis_url):
    with redis_client.connect(redis_url) as client:
        redis.client_kill_filter(_id=str(client.client_id()))
        assert client.ping()
