"""Outbox and dual write: who still tells of an order when something breaks between the commit and the stream."""

import json
from contextlib import closing

import pytest
from prometheus_client import REGISTRY
from redis import Redis

from services.orders.publishing.dual_write import DualWrite
from services.orders.publishing.message import STREAM, Message
from services.orders.publishing.outbox import Outbox
from tests.hung_server import HungServer

LINES = [{"product_id": 5, "quantity": 1, "price_cents": 100}]
WAYS = ("outbox", "dual_write")


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def stream(database, redis_url):
    """Redis with an empty stream, beside an empty outbox."""
    database.rows("truncate orders.outbox")
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        redis.delete(STREAM)
        yield redis
        redis.delete(STREAM)
    database.rows("truncate orders.outbox")


def told(stream, database):
    """What a worker will hear: what is on the stream, and what the relay will put there."""
    waiting = database.rows("select key from orders.outbox where stream_ms is null")
    return [fields["key"] for _, fields in stream.xrange(STREAM)] + [key for (key,) in waiting]


def outcome(name):
    return REGISTRY.get_sample_value("costlab_dual_writes_total", {"outcome": name}) or 0


@pytest.mark.parametrize("way", WAYS)
def test_an_order_is_told_once_either_way(make_store, stream, database, way):
    order = make_store(**{"orders.publish": way}).add(1, LINES, None)
    assert told(stream, database) == [f"order:{order['id']}"]


def test_a_dual_write_is_the_message_the_relay_would_publish(make_store, stream, database):
    order = make_store(**{"orders.publish": "dual_write"}).add(1, LINES, None)
    [(_, fields)] = stream.xrange(STREAM)
    assert (fields["key"], json.loads(fields["payload"])) == (f"order:{order['id']}", order)
    assert fields["traceparent"] == ""


def test_killed_after_the_commit_the_outbox_still_tells_of_the_order_and_a_dual_write_does_not(
    make_store, stream, database, monkeypatch
):
    def die(self, message: Message) -> None:
        raise Killed

    for kind in (Outbox, DualWrite):
        monkeypatch.setattr(kind, "afterwards", die)
    for way, heard in (("outbox", 1), ("dual_write", 0)):
        before = len(told(stream, database))
        with pytest.raises(Killed):
            make_store(**{"orders.publish": way}).add(88, LINES, None)
        newest = database.one("select max(id) from orders.orders where user_id = 88")
        assert len(told(stream, database)) - before == heard
        assert (f"order:{newest}" in told(stream, database)) == (heard == 1)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_rolled_back_is_not_told(make_store, stream, database, monkeypatch, way):
    def die(self, statements, message: Message) -> None:
        raise Killed

    for kind in (Outbox, DualWrite):
        monkeypatch.setattr(kind, "within", die)
    before = database.one("select count(*) from orders.orders")
    with pytest.raises(Killed):
        make_store(**{"orders.publish": way}).add(1, LINES, None)
    assert database.one("select count(*) from orders.orders") == before
    assert told(stream, database) == []


def test_with_redis_away_a_dual_write_is_lost_and_counted_and_the_order_is_placed(
    make_store, mortal_redis, database, caplog
):
    store = make_store(mortal_redis.url, **{"orders.publish": "dual_write"})
    mortal_redis.kill()
    before = outcome("lost")
    order = store.add(1, LINES, None)
    assert outcome("lost") == before + 1
    assert "message.lost" in caplog.text
    assert store.get(order["id"]) == order


def test_with_redis_hung_one_dual_write_waits_and_the_next_are_lost_without_a_wait(make_store):
    with closing(HungServer()) as hung:
        store = make_store(hung.url, **{"orders.publish": "dual_write"})
        before = outcome("lost")
        assert all(store.add(1, LINES, None) for _ in range(3))
        assert hung.connections() == 1
    assert outcome("lost") == before + 3


def test_one_order_is_published_one_way_also_when_the_flag_changes_in_the_middle(make_store, stream, database):
    store = make_store(**{"orders.publish": "dual_write"})

    class Turning(dict):
        """Says dual_write the first time it is asked, outbox ever after."""

        def __getitem__(self, name):
            return self.pop("first", "outbox")

    store._publishing._flags = Turning(first="dual_write")
    order = store.add(1, LINES, None)
    assert told(stream, database) == [f"order:{order['id']}"]
