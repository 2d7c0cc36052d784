"""Spans: in their trace, below their parent, handed to the processors once."""

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from costlab.service import context
from costlab.service.tracing import Tracing, parse

OUTSIDE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


@pytest.fixture
def ended():
    return InMemorySpanExporter()


@pytest.fixture
def tracing(set_flags, ended):
    made = Tracing("test", set_flags(**{"tracing.sample": 1}), None)
    made.add(SimpleSpanProcessor(ended))
    yield made
    made.stop()


@pytest.fixture
def request_():
    request = context.Request("id")
    context.enter(request)
    yield request
    context.enter(None)


def test_a_request_from_outside_goes_on_in_its_trace(tracing, request_, ended):
    span = tracing.enter(request_, OUTSIDE, "GET")
    handed_on = parse(request_.traceparent)
    span.update_name("GET /thing")
    span.set_attribute("http.response.status_code", 200)
    span.end()
    (one,) = ended.get_finished_spans()
    assert (one.name, one.kind, dict(one.attributes)) == (
        "GET /thing",
        SpanKind.SERVER,
        {"http.response.status_code": 200},
    )
    assert f"{one.context.trace_id:x}" == "a" * 32
    assert f"{one.parent.span_id:x}" == "b" * 16
    assert (one.context.trace_id, one.context.span_id) == (handed_on.trace_id, handed_on.span_id)
    assert handed_on.trace_flags.sampled
    assert one.resource.attributes["service.name"] == "test"
    assert one.start_time <= one.end_time


def test_a_request_without_a_trace_begins_one(tracing, request_, ended):
    tracing.enter(request_, "", "GET").end()
    (one,) = ended.get_finished_spans()
    assert one.parent is None
    assert one.context.is_valid


def test_what_happens_within_is_below_and_the_request_is_itself_again_afterwards(tracing, request_, ended):
    server = tracing.enter(request_, "", "GET")
    before = request_.traceparent
    with tracing.child("outer", SpanKind.CLIENT, {"peer": "users"}), tracing.child("inner") as inner:
        assert request_.traceparent != before
        assert inner is request_.span
    assert (request_.span, request_.traceparent) == (server, before)
    server.end()
    inner, outer, root = ended.get_finished_spans()
    assert [inner.parent, outer.parent] == [outer.context, root.context]
    assert dict(outer.attributes) == {"peer": "users"}


def test_what_fails_says_how_and_no_more(tracing, request_, ended):
    tracing.enter(request_, "", "GET")
    with pytest.raises(ValueError, match="secret"), tracing.child("failing"):
        raise ValueError("secret")
    (one,) = ended.get_finished_spans()
    assert (one.status.status_code, one.status.description) == (StatusCode.ERROR, "ValueError")


def test_a_span_ends_once(tracing, request_, ended):
    span = tracing.enter(request_, "", "GET")
    span.end()
    span.end()
    assert len(ended.get_finished_spans()) == 1


def test_what_is_not_sampled_makes_no_span(tracing, request_, ended):
    assert tracing.enter(request_, OUTSIDE[:-2] + "00", "GET") is None
    with tracing.child("inner") as span:
        assert span is None
    assert ended.get_finished_spans() == ()
