"""The relay: what is committed is published, whatever stops, breaks or forgets in between."""

import json
import threading
from contextlib import ExitStack, contextmanager

import psycopg2
import pytest
from redis import Redis

from costlab.service import redis_client
from costlab.service.tracing import Tracing
from services.orders import relay as relay_module
from services.orders.publishing.message import STREAM
from services.orders.relay import Relay
from services.orders.settings import OrdersSettings
from tests.conditions import eventually

LINES = [{"product_id": 5, "quantity": 1, "price_cents": 100}]


@pytest.fixture
def stream(database, redis_url):
    """Redis, with an empty stream, beside an empty outbox."""
    database.rows("truncate orders.outbox")
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        redis.delete(STREAM)
        yield redis
        redis.delete(STREAM)
    database.rows("truncate orders.outbox")


@pytest.fixture
def make(database, redis_url, set_flags):
    """``make()``: a relay that is not started yet."""
    clients = []

    def relay(kind=Relay, dsn=None, url=redis_url):
        clients.append(redis_client.connect(url))
        tracing = Tracing("orders", set_flags(), None)
        return kind(dsn or database.url("orders_relay"), clients[-1], tracing)

    yield relay
    for client in clients:
        client.close()


@contextmanager
def at_work(relay):
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()


def place(store, orders):
    return [f"order:{store.add(1, LINES, None)['id']}" for _ in range(orders)]


def marked(database):
    return database.one("select count(*) from orders.outbox where stream_ms is null") == 0


def published(redis):
    return [fields["key"] for _, fields in redis.xrange(STREAM)]


def test_orders_are_published_once_each_in_the_order_they_were_placed(make, store, stream, database):
    with at_work(make()):
        keys = place(store, 20)
        eventually(lambda: published(stream) == keys)
        eventually(lambda: marked(database))
    assert published(stream) == keys


def test_a_message_is_the_order_and_is_marked_with_its_id_in_the_stream(make, store, stream, database):
    order = store.add(1, LINES, None)
    with at_work(make()):
        eventually(lambda: stream.xlen(STREAM) == 1)
        eventually(lambda: database.one("select stream_ms from orders.outbox") is not None)
    [(identity, fields)] = stream.xrange(STREAM)
    assert json.loads(fields["payload"]) == order
    assert identity == database.one("select stream_ms || '-' || stream_seq from orders.outbox")


def test_a_placed_order_wakes_the_relay_at_once(make, store, stream, database, monkeypatch):
    """Polling alone would take a minute here."""
    monkeypatch.setattr(relay_module, "POLL_SECONDS", 60.0)
    keys = place(store, 1)
    with at_work(make()):
        eventually(lambda: published(stream) == keys)
        eventually(lambda: marked(database))
        keys += place(store, 1)
        eventually(lambda: published(stream) == keys)


def test_more_than_a_batch_is_published_without_waiting(make, store, stream):
    keys = place(store, 2 * relay_module.BATCH + 1)
    with at_work(make()):
        eventually(lambda: published(stream) == keys)


def test_what_was_placed_while_no_relay_ran_is_published_by_the_next(make, store, stream):
    keys = place(store, 3)
    with at_work(make()):
        eventually(lambda: published(stream) == keys)
    later = place(store, 2)
    with at_work(make()):
        eventually(lambda: published(stream) == keys + later)


def test_one_relay_is_active_at_a_time_and_another_takes_over(make, store, stream, database):
    locks = "select count(*) from pg_locks where locktype = 'advisory' and granted and database = "
    locks += "(select oid from pg_database where datname = current_database())"
    with ExitStack() as stack:
        first, second = (make() for _ in range(2))
        stack.enter_context(at_work(second))
        with at_work(first):
            keys = place(store, 50)
            eventually(lambda: published(stream) == keys)
            assert database.one(locks) == 1
        later = place(store, 50)
        eventually(lambda: published(stream) == keys + later)


class DiesBetweenPublicationAndMark(Relay):
    """As kill -9 at the worst moment would have it, once."""

    died = False

    def _append(self, messages, highest):
        ids = super()._append(messages, highest)
        if messages and not self.died:
            self.died = True
            raise psycopg2.OperationalError("killed")
        return ids


def test_killed_before_the_mark_a_message_comes_twice_under_one_key(make, store, stream, database):
    """At least once: the worker drops the second by its key."""
    keys = place(store, 3)
    with at_work(make(DiesBetweenPublicationAndMark)):
        eventually(lambda: published(stream) == keys * 2)
        eventually(lambda: marked(database))


def test_the_relay_returns_after_postgres_dropped_its_connection(make, store, stream, database):
    with at_work(make()):
        keys = place(store, 1)
        eventually(lambda: published(stream) == keys)
        database.rows("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'orders-relay'")
        keys += place(store, 1)
        eventually(lambda: published(stream) == keys, within=10)


def test_orders_wait_in_the_outbox_while_redis_does_not_answer(make, store, stream, database):
    """Longer than the relay waits for an answer. One that comes after all may be published twice."""
    keys = place(store, 1)
    with at_work(make()):
        eventually(lambda: marked(database))
        stream.execute_command("CLIENT", "PAUSE", "1500", "ALL")
        keys += place(store, 2)
        eventually(lambda: set(published(stream)) == set(keys), within=15)
        eventually(lambda: marked(database))


def test_what_redis_lost_is_published_again(make, store, stream):
    """The whole stream is gone, as after a restart without its file."""
    with at_work(make()):
        keys = place(store, 5)
        eventually(lambda: published(stream) == keys)
        stream.delete(STREAM)
        eventually(lambda: published(stream) == keys)


def test_orders_survive_a_redis_that_is_killed_with_all_its_data(make, store, stream, database, mortal_redis):
    with at_work(make(url=mortal_redis.url)), Redis.from_url(mortal_redis.url, decode_responses=True) as client:
        keys = place(store, 5)
        eventually(lambda: published(client) == keys)
        eventually(lambda: marked(database))
        mortal_redis.kill()
        keys += place(store, 5)
        mortal_redis.start()
        eventually(lambda: published(client) == keys, within=10)


def test_only_what_redis_lost_is_published_again(make, store, stream, database):
    """The stream is as it was some orders ago, as after a restart with an old file."""
    with at_work(make()):
        kept = place(store, 2)
        eventually(lambda: published(stream) == kept)
        entries = stream.xrange(STREAM)
        lost = place(store, 3)
        eventually(lambda: published(stream) == kept + lost)
        eventually(lambda: marked(database))
        with stream.pipeline(transaction=True) as restart:
            restart.delete(STREAM)
            for identity, fields in entries:
                restart.xadd(STREAM, fields, id=identity)
            restart.execute()
        eventually(lambda: published(stream) == kept + lost)


def test_data_lost_while_no_relay_ran_is_noticed_by_the_next_before_it_publishes(make, store, stream, database):
    with at_work(make()):
        keys = place(store, 3)
        eventually(lambda: published(stream) == keys)
        eventually(lambda: marked(database))
    stream.delete(STREAM)
    keys += place(store, 1)
    with at_work(make()):
        eventually(lambda: sorted(published(stream)) == sorted(keys))


def test_entries_the_worker_has_deleted_are_not_published_again(make, store, stream, database):
    with at_work(make()):
        keys = place(store, 3)
        eventually(lambda: published(stream) == keys)
        eventually(lambda: marked(database))
        stream.xtrim(STREAM, maxlen=0, approximate=False)
        later = place(store, 1)
        eventually(lambda: published(stream) == later)
        eventually(lambda: marked(database))
    assert published(stream) == later


def test_rows_are_kept_for_a_day_after_they_were_published(make, store, stream, database):
    keys = place(store, 3)
    with at_work(make()):
        eventually(lambda: published(stream) == keys)
        eventually(lambda: marked(database))
    database.rows("update orders.outbox set stream_ms = stream_ms - 25 * 3600 * 1000 where key = %s", keys[0])
    waiting = "update orders.outbox set stream_ms = null, stream_seq = null, created_at = '2020-01-01' where key = %s"
    database.rows(waiting, keys[1])
    with at_work(make()):
        eventually(lambda: database.rows("select key from orders.outbox order by id") == [(key,) for key in keys[1:]])
    assert published(stream) == [*keys, keys[1]]


def test_a_relay_that_never_got_through_stops_all_the_same(make, caplog):
    relay = make(dsn="postgresql://nobody@127.0.0.1:1/nowhere")
    with caplog.at_level("WARNING"), at_work(relay):
        eventually(lambda: "relay.interrupted" in caplog.text)
    assert "relay" not in [thread.name for thread in threading.enumerate()]


def test_the_relays_address_is_that_of_the_service_under_its_own_role():
    settings = OrdersSettings(
        redis_url="redis://redis:6379/0",
        database_url="postgresql://orders:p%40ss@postgres:5432/costlab?sslmode=disable",
        users_url="http://users:8000",
        cache_proxy_url="http://cache-proxy:8000",
    )
    assert settings.relay_url() == "postgresql://orders_relay:p%40ss@postgres:5432/costlab?sslmode=disable"
