"""The stream's own rules: who has an entry, how often it was delivered, when it goes."""

import pytest
from redis import Redis

from services.worker.job_stream import DEAD, GROUP, STREAM, JobStream

BLOCK_MS = 20


@pytest.fixture
def two(stream, server):
    """Two consumers of one stream that have each done a job."""
    with Redis.from_url(server.url) as one, Redis.from_url(server.url) as other:
        consumers = JobStream(one, "one", BLOCK_MS), JobStream(other, "other", BLOCK_MS)
        consumers[0].remove_dead_consumers(0)
        for consumer in consumers:
            stream.place()
            consumer.finish(consumer.read())
        yield consumers


def test_an_entry_is_given_to_one_consumer(stream, two):
    one, other = two
    stream.place()
    assert [delivery.count for delivery in one.read()] == [1]
    assert other.read() == []


def test_an_entry_is_not_taken_from_a_consumer_that_was_just_heard_of(stream, two):
    one, other = two
    stream.place()
    one.read()
    assert other.claim(60_000) is None


def test_each_claim_counts_as_a_delivery(stream, two):
    one, other = two
    stream.place()
    [first] = one.read()
    second, third = other.claim(0), one.claim(0)
    assert (first.count, second.count, third.count) == (1, 2, 3)
    assert first.fields == second.fields == third.fields


def test_claiming_gets_past_many_entries_that_are_not_silent(stream, two):
    """XAUTOCLAIM looks at a few entries a call; the silent one may come after them."""
    one, other = two
    for _ in range(50):
        stream.place()
        [last] = one.read()
    stream.redis.xclaim(STREAM, GROUP, "one", 0, [last.id], idle=100_000, justid=True)
    assert other.claim(50_000).id == last.id


def test_a_finished_entry_is_gone_and_the_streams_last_id_stays(stream, two):
    """By its last id the relay in orders sees that Redis has lost nothing."""
    one, _ = two
    stream.place()
    [delivery] = one.read()
    one.finish([delivery])
    assert stream.pending() == []
    assert stream.redis.xlen(STREAM) == 0
    assert stream.redis.xinfo_stream(STREAM)["last-generated-id"] == delivery.id


def test_a_postponed_entry_stays_and_its_delivery_does_not_count(stream, two):
    one, other = two
    stream.place()
    one.postpone(one.read())
    [pending] = stream.pending()
    assert (pending["consumer"], pending["times_delivered"]) == (b"one", 0)
    assert other.claim(0).count == 1


def test_a_buried_entry_is_a_dead_letter_with_its_fields_and_gone_from_the_stream(stream, two):
    one, _ = two
    entry = stream.add(key="order:7", payload="{}", traceparent="t", extra="kept")
    assert one.bury(one.read()[0], "because")
    assert stream.dead() == [
        {
            "key": "order:7",
            "payload": "{}",
            "traceparent": "t",
            "extra": "kept",
            "reason": "because",
            "entry": entry.decode(),
            "deliveries": "1",
        }
    ]
    assert stream.done()
    assert stream.pending() == []


def test_an_entry_is_buried_once_however_many_try(stream, two):
    one, other = two
    stream.place()
    [mine], theirs = one.read(), other.claim(0)
    assert other.bury(theirs, "first")
    assert not one.bury(mine, "second")
    assert [letter["reason"] for letter in stream.dead()] == ["first"]


def test_an_entry_somebody_else_finished_is_not_buried(stream, two):
    one, other = two
    stream.place()
    [mine], theirs = one.read(), other.claim(0)
    other.finish([theirs])
    assert not one.bury(mine, "too late")
    assert stream.redis.xlen(DEAD) == 0


def test_a_group_that_is_missing_is_made_from_the_start_of_the_stream(stream, server):
    """Nothing that was written before the group existed is skipped."""
    order = stream.place()
    with Redis.from_url(server.url) as redis:
        consumer = JobStream(redis, "c", BLOCK_MS)
        assert consumer.read() == []
        assert consumer.read()[0].fields[b"key"] == f"order:{order}".encode()


@pytest.mark.parametrize("what", ["read", "claim", "leave", "remove"])
def test_any_call_makes_the_group_when_it_is_missing(stream, server, what):
    with Redis.from_url(server.url) as redis:
        consumer = JobStream(redis, "c", BLOCK_MS)
        calls = {
            "read": lambda: consumer.read(),
            "claim": lambda: consumer.claim(0),
            "leave": consumer.leave,
            "remove": lambda: consumer.remove_dead_consumers(0),
        }
        calls[what]()
    assert [group["name"] for group in stream.redis.xinfo_groups(STREAM)] == [GROUP.encode()]


def test_a_consumer_that_is_gone_with_nothing_pending_is_removed(stream, two):
    one, _ = two
    assert stream.consumers() == {"one", "other"}
    assert one.remove_dead_consumers(0) == 2
    assert stream.consumers() == set()


def test_a_consumer_with_something_pending_is_kept_until_it_is_claimed(stream, two):
    """Removing it would lose its entries."""
    one, other = two
    stream.place()
    other.read()
    one.remove_dead_consumers(0)
    assert stream.consumers() == {"other"}
    assert one.claim(0) is not None
    one.remove_dead_consumers(0)
    assert stream.consumers() == {"one"}


def test_a_consumer_that_was_heard_of_lately_is_kept(stream, two):
    assert two[0].remove_dead_consumers(60_000) == 0
    assert "one" in stream.consumers()


def test_a_consumer_that_leaves_removes_itself_and_nobody_else(stream, two):
    one, _ = two
    one.leave()
    assert stream.consumers() == {"other"}


def test_the_backlog_is_what_is_not_done(stream, two):
    one, _ = two
    for _ in range(3):
        stream.place()
    [delivery] = one.read()
    assert one.backlog() == 3
    one.finish([delivery])
    assert one.backlog() == 2
