"""Batches: effects that are committed together, in three ways of writing, with and without waiting for the disk."""

import time

import psycopg2
import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ConnectionError as RedisConnectionError

from services.worker.job import Work
from services.worker.job_stream import JobStream
from services.worker.store import WRITES, DatabaseAway, FulfilmentStore, JobRefused
from services.worker.writes import Row
from tests.conditions import eventually
from tests.services.worker.conftest import at_work, until_pending
from tests.services.worker.test_consumer import Broken, Held, jobs

BATCH = {"worker.batch": 500, "worker.prefetch": 100}
ways = pytest.mark.parametrize("write", WRITES)
either = pytest.mark.parametrize("synchronous", ["on", "off"])


def commits() -> float:
    return REGISTRY.get_sample_value("costlab_job_batch_size_count") or 0


def flushed() -> float:
    return REGISTRY.get_sample_value("costlab_jobs_flushed_total") or 0


@pytest.fixture
def statements(database):
    with psycopg2.connect(database.url) as link, link.cursor() as cursor:
        yield cursor
    link.close()


@ways
def test_what_is_new_is_written_and_said_to_be_new(statements, write):
    rows = [Row(f"order:{n}", n, 2, 1) for n in (1, 2, 3)]
    assert WRITES[write](statements, rows[:2]) == {"order:1", "order:2"}
    assert WRITES[write](statements, rows) == {"order:3"}
    statements.execute("select key, order_id, units, deliveries from fulfilments order by order_id")
    assert statements.fetchall() == rows


@ways
def test_a_key_that_is_twice_in_a_batch_is_written_once(statements, write):
    assert WRITES[write](statements, [Row("order:7", 7, 2, 1), Row("order:7", 7, 9, 2)]) == {"order:7"}
    statements.execute("select units from fulfilments")
    assert statements.fetchall() == [(2,)]


@ways
def test_a_key_may_hold_any_character(statements, write):
    keys = {"a\tb", "a\nb", "a\\b", "\\N", "{a,b}", '"', "'", "ä€😀", " "}
    assert WRITES[write](statements, [Row(key, n, 1, 1) for n, key in enumerate(keys)]) == keys
    statements.execute("select key from fulfilments")
    assert {key for (key,) in statements.fetchall()} == keys


@ways
@either
def test_a_batch_is_one_commit_and_each_of_its_jobs_is_done(make, stream, database, write, synchronous):
    orders = [stream.place() for _ in range(50)]
    before = commits(), jobs("done"), jobs("duplicate")
    with at_work(make(**BATCH, **{"worker.write": write, "worker.synchronous_commit": synchronous})):
        eventually(stream.done)
        eventually(lambda: jobs("done") == before[1] + 50)
    assert database.fulfilled() == dict.fromkeys(orders, 1)
    assert (commits(), jobs("duplicate")) == (before[0] + 1, before[2])
    assert stream.pending() == []


class Forgetful(JobStream):
    """Gives no sign of life, as one that a busy machine keeps waiting."""

    def hold(self, deliveries) -> None:
        pass


def test_a_consumer_does_not_claim_from_itself_what_it_has_in_hand(make, stream, database):
    """Its commits wait for the flush barrier far longer than 1 ms, after which anybody's silent entries are claimed."""
    orders = [stream.place() for _ in range(5)]
    before = jobs("done"), jobs("duplicate"), commits()
    with at_work(make(stream=Forgetful, claim_ms=1, **BATCH, **{"worker.synchronous_commit": "off"})):
        eventually(lambda: commits() > before[2])
        eventually(lambda: {entry["times_delivered"] for entry in stream.pending()} <= {1})
        eventually(stream.done)
        eventually(lambda: jobs("done") == before[0] + 5)
    assert database.fulfilled() == dict.fromkeys(orders, 1)
    assert jobs("duplicate") == before[1]


@ways
def test_a_bad_job_in_a_batch_fails_alone(make, stream, database, write):
    """One whose data the database refuses, and one that has another's order."""
    good = [stream.place() for _ in range(5)]
    stream.place(70, lines=[])
    stream.add(key="other:1", payload='{"id": 1, "lines": [{"product_id": 5, "quantity": 2}]}')
    good += [stream.place() for _ in range(5)]
    with at_work(make(attempts=2, **BATCH, **{"worker.write": write})):
        eventually(stream.done)
    assert database.fulfilled() == dict.fromkeys(good, 1)
    assert sorted(letter["key"] for letter in stream.dead()) == ["order:70", "other:1"]
    assert database.rows("select key from fulfilments where order_id = 1") == [("order:1",)]


def test_a_job_that_fails_at_its_work_is_not_in_the_batch(make, stream, database):
    orders = [stream.place() for _ in range(5)]
    with at_work(make(work=Broken(orders[2]), claim_ms=60_000, **BATCH)):
        eventually(lambda: len(database.fulfilled()) == 4)
        eventually(lambda: len(stream.pending()) == 1)
    assert orders[2] not in database.fulfilled()


def test_the_same_job_twice_in_a_batch_is_done_once_and_a_duplicate_once(make, stream, database):
    stream.place(7)
    stream.place(7)
    before = jobs("done"), jobs("duplicate")
    with at_work(make(**BATCH)):
        eventually(stream.done)
    assert database.fulfilled() == {7: 1}
    assert (jobs("done"), jobs("duplicate")) == (before[0] + 1, before[1] + 1)


def test_a_batch_waits_for_the_database_and_no_job_of_it_counts_as_failed(make, stream, database):
    database.take_away()
    orders = [stream.place() for _ in range(10)]
    with at_work(make(attempts=1, **BATCH)):
        until_pending(stream, 10)
        eventually(lambda: {row["times_delivered"] for row in stream.pending()} == {0})
        database.give_back()
        eventually(stream.done)
    assert set(database.fulfilled()) == set(orders)
    assert stream.dead() == []


class Wordless(JobStream):
    """Redis cannot be told that a delivery does not count."""

    refused = 0

    def postpone(self, deliveries) -> None:
        self.refused += 1
        raise RedisConnectionError("gone")


@pytest.mark.parametrize("count", [1, 3])
def test_no_job_counts_as_failed_when_redis_is_away_beside_the_database(make, stream, database, count):
    database.take_away()
    orders = [stream.place() for _ in range(count)]
    consumer = make(attempts=1, claim_ms=60_000, stream=Wordless, **BATCH)
    with at_work(consumer):
        eventually(lambda: consumer._stream.refused > 1)
        database.give_back()
        eventually(stream.done)
    assert set(database.fulfilled()) == set(orders)
    assert stream.dead() == []


class Leaving(FulfilmentStore):
    """Refuses order 1, also in company; then it is away, until it is back."""

    back = False

    def add(self, rows, write, barrier=None):
        if any(row.order_id == 1 for row in rows):
            raise JobRefused("no such order")
        if not self.back:
            raise DatabaseAway("gone")
        return super().add(rows, write, barrier)


def test_a_job_that_was_refused_before_redis_went_away_is_a_dead_letter_when_it_is_back(make, stream, database):
    stream.place(1)
    stream.place(2)
    consumer = make(attempts=1, claim_ms=60_000, stream=Wordless, store=Leaving, **BATCH)
    with at_work(consumer):
        eventually(lambda: consumer._stream.refused > 0)
        consumer._settlement._store.back = True
        eventually(stream.done)
    assert database.fulfilled() == {2: 1}
    assert [(letter["key"], letter["reason"]) for letter in stream.dead()] == [("order:1", "JobRefused: no such order")]


def test_what_was_read_and_not_begun_is_given_back_to_be_done_at_once_as_if_never_delivered(make, stream, database):
    held = Held()
    orders = [stream.place() for _ in range(10)]
    with at_work(make(work=held, claim_ms=60_000, **{"worker.prefetch": 10})) as stopped:
        assert held.holding.acquire(timeout=5)
        stopped.set()
        held.released.set()
    assert database.fulfilled() == {orders[0]: 1}
    assert {row["times_delivered"] for row in stream.pending()} == {0}
    with at_work(make("next", claim_ms=60_000)):
        eventually(stream.done)
    assert database.fulfilled() == dict.fromkeys(orders, 1)


class Slow(Work):
    """Takes as long as another consumer needs to look for silent entries once more."""

    def __init__(self, looks):
        super().__init__(0, 0)
        self._looks = looks

    def do(self, job):
        before = self._looks.made
        eventually(lambda: self._looks.made > before)


class Looking(JobStream):
    """Counts how often it looked for silent entries."""

    made = 0

    def claim(self, idle_ms):
        self.made += 1
        return super().claim(idle_ms)


def test_jobs_in_hand_are_held_however_long_the_batch_takes(make, stream, database):
    """Four jobs of a second each, where three seconds of silence are too many: nobody takes one over."""
    looker = make("looker", claim_ms=3000, stream=Looking)
    orders = [stream.place() for _ in range(4)]
    slow = make("slow", work=Slow(looker._stream), claim_ms=3000, **BATCH)
    with at_work(slow):
        until_pending(stream, 4)
        with at_work(looker):
            eventually(stream.done, within=30)
    assert database.fulfilled() == dict.fromkeys(orders, 1)


def test_a_commit_that_did_not_wait_for_the_disk_is_acknowledged_only_behind_the_barrier(make, stream, database):
    consumer = make(claim_ms=60_000, **{"worker.synchronous_commit": "off"})
    consumer._settlement._clock = lambda: 0.0  # the barrier's turn never comes
    order, before = stream.place(), flushed()
    with at_work(consumer):
        eventually(lambda: database.fulfilled() == {order: 1})
        assert len(stream.pending()) == 1
    assert stream.done()
    assert flushed() == before + 1


def test_what_a_crash_took_back_before_the_barrier_is_written_again(make, stream, database):
    """The crash: the commit is gone, and so is every connection that was open at the time."""
    consumer = make(claim_ms=60_000, **{"worker.synchronous_commit": "off"})
    consumer._settlement._clock = lambda: 0.0
    order = stream.place()
    before = jobs("done"), jobs("duplicate")
    with at_work(consumer):
        eventually(lambda: database.fulfilled() == {order: 1})
        database.rows("truncate fulfilments")
        database.take_away()
        database.give_back()
        consumer._settlement._clock = time.monotonic
        eventually(stream.done)
        eventually(lambda: jobs("done") == before[0] + 1)
    assert database.fulfilled() == {order: 1}
    assert jobs("duplicate") == before[1]


def test_a_crash_that_took_nothing_back_makes_no_second_effect(make, stream, database):
    consumer = make(claim_ms=60_000, **{"worker.synchronous_commit": "off"})
    consumer._settlement._clock = lambda: 0.0
    order = stream.place()
    with at_work(consumer):
        eventually(lambda: database.fulfilled() == {order: 1})
        database.take_away()
        database.give_back()
        consumer._settlement._clock = time.monotonic
        eventually(stream.done)
    assert database.fulfilled() == {order: 1}
