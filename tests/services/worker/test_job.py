"""What an entry must be to be a job, and what a job costs."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.worker.job import Malformed, Work, burn, parse

ORDER = b'{"id": 7, "user_id": 1, "lines": [{"product_id": 5, "quantity": 2}, {"product_id": 6, "quantity": 1}]}'


def fields(**given: bytes):
    return {b"key": b"order:7", b"payload": ORDER, b"traceparent": b"00-x"} | {
        name.encode(): value for name, value in given.items()
    }


def test_an_entry_as_orders_publishes_it_is_a_job():
    job = parse(fields())
    assert (job.key, job.order.id, job.units(), job.traceparent) == ("order:7", 7, 3, "00-x")


def test_a_job_needs_no_trace():
    without = fields()
    del without[b"traceparent"]
    assert parse(without).traceparent == ""


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"key": b""}, "the entry has no field key"),
        ({"payload": b""}, "the entry has no field payload"),
        ({"key": b"x" * 201}, "longer than 200"),
        ({"key": b"a\0b"}, "NUL"),
        ({"key": b"\xff"}, "not UTF-8"),
        ({"traceparent": b"\xff"}, "not UTF-8"),
        ({"payload": b"{"}, "not an order: payload: Invalid JSON"),
        ({"payload": b"\xff\xfe"}, "not an order"),
        ({"payload": b"[]"}, "not an order"),
        ({"payload": b"{}"}, "not an order: id: Field required"),
        ({"payload": b'{"id": "7", "lines": []}'}, "not an order: id"),
        ({"payload": b'{"id": 9223372036854775808, "lines": []}'}, "not an order: id"),
        ({"payload": b'{"id": 7, "lines": [{"product_id": 5, "quantity": 0}]}'}, r"lines\.0\.quantity"),
        ({"payload": b'{"id": 7, "lines": [], "wait_ms": 1001}'}, "wait_ms"),
        ({"payload": b'{"id": 7, "lines": [], "cpu_ms": -1}'}, "cpu_ms"),
    ],
)
def test_what_is_no_job_says_why(given, reason):
    with pytest.raises(Malformed, match=reason):
        parse(fields(**given))


@given(some.dictionaries(some.sampled_from([b"key", b"payload", b"traceparent", b"x"]), some.binary()))
def test_nothing_a_stream_can_hold_is_worse_than_malformed(entry):
    with pytest.raises(Malformed):
        parse(entry)


def test_a_job_waits_as_the_settings_say_unless_it_says_otherwise():
    waited = []
    work = Work(0, 20, waited.append)
    work.do(parse(fields()))
    work.do(parse(fields(payload=b'{"id": 7, "lines": [], "wait_ms": 5}')))
    assert waited == [0.02, 0.005]


def test_cpu_is_measured_by_the_clock_of_the_thread():
    ticks = itertools.count()
    burn(5, clock=lambda: next(ticks) / 1000)
    assert next(ticks) == 6
