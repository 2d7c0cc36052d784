"""Spans leave as the OpenTelemetry Protocol says, and a collector that is away costs spans, not requests."""

import json

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

from costlab.service import metrics
from costlab.service.otlp import OtlpJsonExporter, encode, write
from tests.collector import Collector


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def exporter(collector):
    made = OtlpJsonExporter(collector.url)
    yield made
    made.shutdown()


@pytest.fixture
def spans():
    """A server span with a failed client span below it, as the SDK hands them to an exporter: ended first, first."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "gateway"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("costlab")
    server = tracer.start_span("GET /api/users/{id}", kind=SpanKind.SERVER, start_time=10)
    client = tracer.start_span(
        "GET users",
        set_span_in_context(server),
        SpanKind.CLIENT,
        {"text": "ä", "whole": 2**60, "part": 0.5, "yes": True, "list": ["a", "b"]},
        start_time=12,
    )
    client.set_status(StatusCode.ERROR, "timeout")
    client.add_link(server.get_span_context(), {"costlab.attempt": "retry"})
    client.end(15)
    server.end(20)
    return memory.get_finished_spans()


def dropped():
    return metrics.REGISTRY.get_sample_value("costlab_spans_dropped_total")


def test_spans_are_written_as_the_protocol_says(spans):
    resource = json.loads(encode(spans[0], [write(span) for span in spans]))["resourceSpans"][0]
    client, server = resource["scopeSpans"][0]["spans"]
    assert resource["resource"]["attributes"] == [{"key": "service.name", "value": {"stringValue": "gateway"}}]
    assert resource["scopeSpans"][0]["scope"] == {"name": "costlab"}
    assert server == {
        "traceId": f"{spans[1].context.trace_id:032x}",
        "spanId": f"{spans[1].context.span_id:016x}",
        "name": "GET /api/users/{id}",
        "kind": 2,
        "startTimeUnixNano": "10",
        "endTimeUnixNano": "20",
        "attributes": [],
    }
    assert (client["traceId"], client["parentSpanId"], client["kind"]) == (server["traceId"], server["spanId"], 3)
    assert client["links"] == [
        {
            "traceId": server["traceId"],
            "spanId": server["spanId"],
            "attributes": [{"key": "costlab.attempt", "value": {"stringValue": "retry"}}],
        }
    ]
    assert client["status"] == {"code": 2, "message": "timeout"}
    assert {item["key"]: item["value"] for item in client["attributes"]} == {
        "text": {"stringValue": "ä"},
        "whole": {"intValue": str(2**60)},
        "part": {"doubleValue": 0.5},
        "yes": {"boolValue": True},
        "list": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}},
    }


def test_it_says_the_same_as_opentelemetrys_own_encoder(spans):
    """Read by protobuf's own JSON reader, both make the same message, but for what the JSON form leaves out."""
    encoder = pytest.importorskip("opentelemetry.exporter.otlp.proto.common.trace_encoder", reason="not installed")
    from google.protobuf.json_format import Parse
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    document = json.loads(encode(spans[0], [write(span) for span in spans]))
    for span in document["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in ("traceId", "spanId", "parentSpanId"):  # hexadecimal in OTLP, base64 in protobuf's JSON
            span.pop(name, None)
        for link in span.get("links", ()):
            del link["traceId"], link["spanId"]
    ours = Parse(json.dumps(document), ExportTraceServiceRequest())
    theirs = encoder.encode_spans(spans)
    for span in theirs.resource_spans[0].scope_spans[0].spans:
        for name in ("trace_id", "span_id", "parent_span_id", "flags"):
            span.ClearField(name)
        for link in span.links:
            for name in ("trace_id", "span_id", "flags"):
                link.ClearField(name)
        if not span.status.code:
            span.ClearField("status")
    assert ours == theirs


def sent_bytes():
    return metrics.REGISTRY.get_sample_value("costlab_span_bytes_total")


def test_they_are_posted_to_the_collector_on_one_connection(exporter, collector, spans):
    before = sent_bytes()
    assert [exporter.export(spans) for _ in range(3)] == [SpanExportResult.SUCCESS] * 3
    assert [(path, kind) for path, kind, _ in collector.received] == [("/v1/traces", "application/json")] * 3
    assert sent_bytes() == before + 3 * len(encode(spans[0], [write(span) for span in spans]))


def test_a_connection_the_collector_closed_is_opened_again(exporter, collector, spans):
    collector.hang_up = True
    assert [exporter.export(spans) for _ in range(3)] == [SpanExportResult.SUCCESS] * 3


@pytest.mark.parametrize("status", [400, 429, 503])
def test_spans_the_collector_does_not_take_are_counted(exporter, collector, spans, status):
    collector.status = status
    before, sent = dropped(), sent_bytes()
    assert exporter.export(spans) is SpanExportResult.FAILURE
    assert (dropped(), sent_bytes()) == (before + 2, sent)


def test_a_collector_that_is_away_costs_spans_and_comes_back(spans):
    collector = Collector()
    exporter = OtlpJsonExporter(collector.url)
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    collector.shutdown()
    collector.server_close()
    away = OtlpJsonExporter(collector.url)
    before = dropped()
    assert away.export(spans) is SpanExportResult.FAILURE
    assert dropped() == before + 2
    exporter.shutdown()
    away.shutdown()
