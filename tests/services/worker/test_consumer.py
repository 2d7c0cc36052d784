"""A consumer at work: every job done once, whatever fails, dies, or is no job at all."""

import subprocess
import sys
import threading

import pytest
from prometheus_client import REGISTRY

from costlab.service import context
from services.worker.job import Work
from services.worker.job_stream import DEAD, GROUP, STREAM, JobStream
from tests.conditions import eventually
from tests.services.worker.conftest import at_work, until_pending


class Broken(Work):
    """Fails at every job whose order is in ``orders``."""

    def __init__(self, *orders):
        super().__init__(0, 0)
        self.orders = set(orders)
        self.tried = []

    def do(self, job):
        self.tried.append(job.order.id)
        if job.order.id in self.orders:
            raise RuntimeError("no carrier goes there")


class Held(Work):
    """Holds every job until it is released."""

    def __init__(self):
        super().__init__(0, 0)
        self.released = threading.Event()
        self.holding = threading.Semaphore(0)

    def do(self, job):
        self.holding.release()
        self.released.wait(10)


def jobs(outcome):
    return REGISTRY.get_sample_value("costlab_jobs_total", {"outcome": outcome}) or 0


def test_a_job_is_done_and_its_entry_goes(make, stream, database):
    order = stream.place()
    before = jobs("done")
    with at_work(make()):
        eventually(stream.done)
    assert database.fulfilled() == {order: 1}
    assert stream.pending() == []
    assert jobs("done") == before + 1


def test_the_effect_says_what_was_ordered(make, stream, database):
    stream.place(7, lines=[{"product_id": 1, "quantity": 3}, {"product_id": 2, "quantity": 4}])
    with at_work(make()):
        eventually(stream.done)
    assert database.rows("select key, order_id, units from fulfilments") == [("order:7", 7, 7)]


def test_jobs_are_shared_and_each_is_done_once(make, stream, database):
    orders = [stream.place() for _ in range(100)]
    with at_work(*[make(f"c{n}", claim_ms=60_000) for n in range(4)]):
        eventually(stream.done, within=20)
    assert database.fulfilled() == dict.fromkeys(orders, 1)


def test_a_job_that_comes_again_under_its_key_has_no_second_effect(make, stream, database):
    """The relay may publish a message twice, and Redis may forget that one was acknowledged."""
    stream.place(7)
    stream.place(7)
    before = jobs("done"), jobs("duplicate")
    with at_work(make()):
        eventually(stream.done)
    assert database.fulfilled() == {7: 1}
    assert (jobs("done"), jobs("duplicate")) == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize(
    ("point", "deliveries"), [("before_work", 2), ("before_commit", 2), ("before_acknowledgement", 1)]
)
def test_a_job_whose_consumer_is_killed_is_claimed_and_done_exactly_once(
    make, stream, database, server, point, deliveries
):
    """Kill -9 before the work, before the commit, and between the effect and its acknowledgement."""
    order = stream.place()
    command = [sys.executable, "-m", "tests.services.worker.stuck_consumer", point, server.url, database.url]
    claimed = REGISTRY.get_sample_value("costlab_jobs_claimed_total")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == point
        process.kill()
    assert len(stream.pending()) == 1
    with at_work(make()):
        eventually(stream.done)
    assert database.fulfilled() == {order: deliveries}
    assert stream.pending() == []
    assert REGISTRY.get_sample_value("costlab_jobs_claimed_total") == claimed + 1


def test_a_consumer_that_was_only_slow_finishes_too_and_the_effect_is_there_once(make, stream, database):
    slow = Held()
    order = stream.place()
    with at_work(make("slow", work=slow)):
        assert slow.holding.acquire(timeout=5)
        with at_work(make("quick")):
            eventually(stream.done)
        slow.released.set()
    assert database.fulfilled() == {order: 2}
    assert stream.dead() == []


def test_a_failing_job_is_tried_n_times_and_then_a_dead_letter_with_its_reason(make, stream, database):
    order = stream.place()
    broken = Broken(order)
    before = jobs("failed"), jobs("dead")
    with at_work(make(work=broken, attempts=3)):
        eventually(stream.done)
    assert broken.tried == [order] * 3
    [letter] = stream.dead()
    assert letter["reason"] == "RuntimeError: no carrier goes there"
    assert (letter["key"], letter["deliveries"]) == (f"order:{order}", "3")
    assert database.fulfilled() == {}
    assert (jobs("failed"), jobs("dead")) == (before[0] + 2, before[1] + 1)


def test_a_job_that_fails_and_then_works_is_done(make, stream, database):
    order = stream.place()
    broken = Broken(order)
    with at_work(make(work=broken)):
        eventually(lambda: len(broken.tried) == 2)
        broken.orders.clear()
        eventually(stream.done)
    assert database.fulfilled() == {order: len(broken.tried)}
    assert stream.dead() == []


def test_a_job_the_database_refuses_is_the_jobs_own_failure(make, stream, database):
    stream.place(7, lines=[])
    with at_work(make(attempts=2)):
        eventually(stream.done)
    [letter] = stream.dead()
    assert "fulfilments_units_check" in letter["reason"]


def test_an_order_cannot_be_fulfilled_under_two_keys(make, stream, database):
    payload = '{"id": 7, "lines": [{"product_id": 5, "quantity": 2}]}'
    stream.add(key="order:7", payload=payload)
    stream.add(key="other:7", payload=payload)
    with at_work(make(attempts=2)):
        eventually(stream.done)
    assert database.rows("select key from fulfilments") == [("order:7",)]
    assert [letter["key"] for letter in stream.dead()] == ["other:7"]


def test_a_job_that_kills_every_consumer_is_not_given_to_another_one(make, stream, database):
    """It never says why it fails, so only the count of deliveries tells."""
    order = stream.place()
    broken = Broken()
    doomed = [make(f"doomed-{n}")._stream for n in range(3)]
    doomed[0].read()
    doomed[0].read()
    doomed[1].claim(0)
    doomed[2].claim(0)
    with at_work(make(work=broken, attempts=3)):
        eventually(stream.done)
    assert broken.tried == []
    [letter] = stream.dead()
    assert letter["reason"] == "delivered 3 times and never finished: its consumers died"
    assert letter["key"] == f"order:{order}"
    assert database.fulfilled() == {}


@pytest.mark.parametrize(
    "poison",
    [
        {"nonsense": "1"},
        {"key": "order:1", "payload": "{"},
        {"key": b"\xff\xfe", "payload": b"\x00\x01"},
        {"key": "a\0b", "payload": '{"id": 1, "lines": []}'},
        {"key": "order:1", "payload": "[" * 100_000},
        {"key": "order:1", "payload": '{"id": 1e400, "lines": null}'},
        {"reason": "mine", "entry": "mine"},
    ],
)
def test_poison_becomes_a_dead_letter_at_once_and_the_next_job_is_done(make, stream, database, poison):
    stream.add(**poison)
    order = stream.place()
    with at_work(make()):
        eventually(stream.done)
    assert database.fulfilled() == {order: 1}
    [letter] = stream.dead()
    assert letter["deliveries"] == "1"
    assert letter["reason"]


def test_jobs_behind_a_failing_one_do_not_wait_for_it(make, stream, database):
    bad = stream.place()
    good = [stream.place() for _ in range(20)]
    with at_work(make(work=Broken(bad), claim_ms=60_000)):
        eventually(lambda: set(database.fulfilled()) == set(good))
    assert [row["times_delivered"] for row in stream.pending()] == [1]


class Counting(JobStream):
    """Counts how often it was told that a job cannot be finished yet."""

    def __init__(self, redis, consumer, block_ms):
        super().__init__(redis, consumer, block_ms)
        self.postponed = 0

    def postpone(self, deliveries):
        super().postpone(deliveries)
        self.postponed += 1


def test_without_the_database_a_job_waits_and_is_not_counted_as_failed(make, stream, database):
    """With 2 attempts and an outage far longer than 2 claims, it would be a dead letter if waiting counted."""
    consumers = [make(f"c{n}", attempts=2, stream=Counting) for n in range(3)]
    database.take_away()
    orders = [stream.place() for _ in range(2)]
    with at_work(*consumers):
        eventually(lambda: sum(consumer._stream.postponed for consumer in consumers) >= 30, within=20)
        assert max(row["times_delivered"] for row in stream.pending()) <= 1
        database.give_back()
        eventually(stream.done)
    assert set(database.fulfilled()) == set(orders)
    assert stream.dead() == []


def test_a_worker_that_leaves_while_the_database_is_away_leaves_the_job_to_the_next_one(make, stream, database):
    first = make("first", attempts=1, stream=Counting)
    database.take_away()
    order = stream.place()
    with at_work(first):
        eventually(lambda: first._stream.postponed >= 1)
    database.give_back()
    with at_work(make("second", attempts=1)):
        eventually(stream.done)
    assert database.fulfilled() == {order: 1}


def test_a_schema_that_is_missing_is_waited_for_and_no_jobs_fault(make, stream, database):
    consumer = make(attempts=1, stream=Counting)
    database.rows("alter table fulfilments rename to elsewhere")
    try:
        order = stream.place()
        with at_work(consumer):
            eventually(lambda: consumer._stream.postponed >= 3)
            database.rows("alter table elsewhere rename to fulfilments")
            eventually(stream.done)
    finally:
        database.rows("alter table if exists elsewhere rename to fulfilments")
    assert database.fulfilled() == {order: 1}


def test_a_redis_that_is_killed_and_comes_back_has_its_jobs_done(make, stream, database, server):
    orders = [stream.place() for _ in range(3)]
    with at_work(make("a"), make("b")):
        eventually(stream.done)
        server.kill()
        server.start()
        orders += [stream.place() for _ in range(3)]
        eventually(stream.done)
    assert set(database.fulfilled()) == set(orders)


def test_a_redis_that_hangs_and_goes_on_has_its_jobs_done(make, stream, database, server):
    """What it answers after the pause nobody hears; such an entry is claimed like that of a dead consumer."""
    orders = [stream.place() for _ in range(3)]
    consumers = [make("a"), make("b")]
    with at_work(*consumers):
        eventually(stream.done)
        server.pause()
        eventually(lambda: all(consumer._away for consumer in consumers), within=20)
        server.resume()
        orders += [stream.place() for _ in range(3)]
        eventually(stream.done)
    assert set(database.fulfilled()) == set(orders)


def test_a_job_done_while_redis_is_away_is_acknowledged_later_without_a_second_effect(make, stream, database, server):
    held = Held()
    order = stream.place()
    with at_work(make(work=held)):
        assert held.holding.acquire(timeout=5)
        server.kill()
        held.released.set()
        eventually(lambda: database.fulfilled() == {order: 1})
        server.start()
        eventually(stream.done)
    assert database.fulfilled() == {order: 1}


def test_a_redis_that_lost_the_stream_and_the_group_is_worked_on_from_the_start(make, stream, database, server):
    with at_work(make("a"), make("b")):
        stream.place()
        eventually(stream.done)
        server.forget()
        server.start()
        order = stream.place(77)
        eventually(lambda: stream.redis.exists(STREAM) and stream.done())
    assert order in database.fulfilled()


def test_a_group_that_is_destroyed_under_a_waiting_consumer_is_made_again(make, stream, database):
    with at_work(make()):
        stream.place()
        eventually(stream.done)
        stream.redis.xgroup_destroy(STREAM, GROUP)
        order = stream.place()
        eventually(lambda: order in database.fulfilled())


def test_a_consumer_that_is_told_to_stop_finishes_the_job_in_hand_and_leaves_the_group(make, stream, database):
    held = Held()
    order = stream.place()
    later = stream.place()
    with at_work(make(work=held, claim_ms=60_000)) as stopped:
        assert held.holding.acquire(timeout=5)
        stopped.set()
        held.released.set()
    assert database.fulfilled() == {order: 1}
    assert stream.consumers() == set()
    assert stream.redis.xlen(STREAM) == 1
    with at_work(make("next")):
        eventually(stream.done)
    assert later in database.fulfilled()


def test_a_consumer_that_leaves_with_a_failed_job_stays_in_the_group_until_it_is_claimed(make, stream):
    order = stream.place()
    broken = Broken(order)
    with at_work(make("first", work=broken, claim_ms=60_000)):
        eventually(lambda: broken.tried)
        until_pending(stream, 1)
    assert stream.consumers() == {"first"}


def test_a_job_belongs_to_the_trace_of_the_request_that_placed_the_order(make, stream, spans):
    seen = []

    class Looking(Work):
        def do(self, job):
            seen.append(context.current())

    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    stream.add(key="order:7", payload='{"id": 7, "lines": [{"product_id": 5, "quantity": 2}]}', traceparent=parent)
    with at_work(make(work=Looking(0, 0))):
        eventually(stream.done)
    [job] = [span for span in spans.get_finished_spans() if span.name == f"process {STREAM}"]
    assert f"{job.context.trace_id:032x}" == "a" * 32
    assert f"{job.parent.span_id:016x}" == "b" * 16
    [write] = [span for span in spans.get_finished_spans() if span.name == "postgres transaction"]
    assert write.parent.span_id == job.context.span_id
    assert (seen[0].request_id, seen[0].traceparent[3:35]) == ("order-7", "a" * 32)


def test_a_job_of_an_order_that_was_not_traced_is_not_traced(make, stream, spans):
    parent = f"00-{'a' * 32}-{'b' * 16}-00"
    stream.add(key="order:7", payload='{"id": 7, "lines": [{"product_id": 5, "quantity": 2}]}', traceparent=parent)
    with at_work(make()):
        eventually(stream.done)
    assert spans.get_finished_spans() == ()


def test_a_failed_job_is_a_failed_span(make, stream, spans):
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    stream.add(key="order:7", payload='{"id": 7, "lines": []}', traceparent=parent)
    with at_work(make(work=Broken(7), attempts=1)):
        eventually(stream.done)
    [job] = spans.get_finished_spans()
    assert not job.status.is_ok


def test_the_backlog_is_exported(make, stream):
    held = Held()
    with at_work(make(work=held)):
        for _ in range(3):
            stream.place()
        held.released.set()
        eventually(stream.done)
        eventually(lambda: REGISTRY.get_sample_value("costlab_stream_backlog", {"stream": STREAM}) == 0)


def test_a_bug_in_the_consumer_is_logged_and_does_not_end_it(make, stream, database, monkeypatch, caplog):
    consumer = make()
    original, failures = consumer._stream.read, [RuntimeError("bug")]

    def read(*arguments):
        if failures:
            raise failures.pop()
        return original(*arguments)

    monkeypatch.setattr(consumer._stream, "read", read)
    order = stream.place()
    with at_work(consumer):
        eventually(stream.done)
    assert database.fulfilled() == {order: 1}
    assert "consumer.failed" in caplog.messages


def test_dead_letters_are_kept_apart_from_the_jobs():
    assert DEAD != STREAM
