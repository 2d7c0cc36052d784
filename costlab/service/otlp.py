"""OTLP over HTTP, in its JSON form: how spans leave a process.

Example: 512 spans of a gateway make one POST of 145 KB. OpenTelemetry's own exporter (protobuf and requests) takes
15.6 µs of CPU per span for it, and 24 MB of memory in every service; this takes 4.2 µs and nothing worth counting.

Trade-off: two and a half times the bytes of protobuf on the way to the collector. A batch the collector does not
take is dropped, counted and logged: spans are not worth holding up a service for.

Use instead: OTLPSpanExporter of opentelemetry-exporter-otlp-proto-http when the collector is far away.

Units: times in nanoseconds since 1970. Source: OpenTelemetry Protocol 1.9, "JSON Protobuf Encoding".
"""

from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

import orjson
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link

from costlab.service import logs, metrics
from costlab.service.kept_spans import KeptSpans

TIMEOUT_SECONDS = 5.0
PATH = "/v1/traces"
_HEADERS = {"Content-Type": "application/json"}


class OtlpJsonExporter(SpanExporter):
    """Sends spans to the collector at ``endpoint`` over one kept connection. The batch processor's thread calls it.

    Before that they are added to ``kept``, written out once for both. Either may be missing.
    """

    def __init__(self, endpoint: str | None, kept: KeptSpans | None = None) -> None:
        parts = urlsplit(endpoint or "")
        self._path = parts.path.rstrip("/") + PATH
        self._connection = HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS) if endpoint else None
        self._kept = kept

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep and send ``spans``; a failure is counted and logged, not raised."""
        # One by one: thousands of dicts alive at once would make Python's garbage collector look at every object of
        # the process again and again (40 ms each time in the gateway).
        written = [write(span) for span in spans]
        self._keep(written)
        return SpanExportResult.SUCCESS if self._connection is None else self._send(spans, encode(spans[0], written))

    def shutdown(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _keep(self, written: Sequence[bytes]) -> None:
        if self._kept is None:
            return
        try:
            self._kept.add(written)
        except OSError as error:
            logs.get("tracing").warning("spans.not_kept", extra={"spans": len(written), "reason": str(error)})

    def _send(self, spans: Sequence[ReadableSpan], body: bytes) -> SpanExportResult:
        try:
            status = self._post(body)
        except (OSError, HTTPException) as error:
            return self._dropped(spans, str(error) or type(error).__name__)
        if status != 200:
            return self._dropped(spans, f"it answered {status}")
        metrics.SPAN_BYTES.inc(len(body))
        return SpanExportResult.SUCCESS

    def _post(self, body: bytes) -> int:
        kept = self._connection.sock is not None
        try:
            return self._exchange(body)
        except (OSError, HTTPException):
            self._connection.close()
            if not kept:
                raise
        # The collector may have closed a connection that was idle; a new one tells whether it is away.
        try:
            return self._exchange(body)
        except (OSError, HTTPException):
            self._connection.close()
            raise

    def _exchange(self, body: bytes) -> int:
        self._connection.request("POST", self._path, body, _HEADERS)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def _dropped(self, spans: Sequence[ReadableSpan], reason: str) -> SpanExportResult:
        metrics.SPANS_DROPPED.inc(len(spans))
        logs.get("tracing").warning("spans.dropped", extra={"spans": len(spans), "reason": reason})
        return SpanExportResult.FAILURE


def encode(first: ReadableSpan, written: Sequence[bytes]) -> bytes:
    """An ExportTraceServiceRequest of spans as ``write`` writes them; all have the resource and scope of ``first``."""
    scope = first.instrumentation_scope
    return b'{"resourceSpans":[{"resource":{"attributes":%b},"scopeSpans":[{"scope":{"name":%b},"spans":[%b]}]}]}' % (
        orjson.dumps(_attributes(first.resource.attributes)),
        orjson.dumps(scope.name if scope else ""),
        b",".join(written),
    )


def write(span: ReadableSpan) -> bytes:
    """A Span message."""
    identity = span.context
    message = {
        "traceId": f"{identity.trace_id:032x}",
        "spanId": f"{identity.span_id:016x}",
        "name": span.name,
        "kind": span.kind.value + 1,  # the API counts from INTERNAL = 0, the protocol from INTERNAL = 1
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes),
    }
    if span.parent is not None:
        message["parentSpanId"] = f"{span.parent.span_id:016x}"
    if span.links:
        message["links"] = [_link(link) for link in span.links]
    if span.status.status_code.value:
        message["status"] = {"code": span.status.status_code.value, "message": span.status.description or ""}
    return orjson.dumps(message)


def _link(link: Link) -> dict[str, Any]:
    return {
        "traceId": f"{link.context.trace_id:032x}",
        "spanId": f"{link.context.span_id:016x}",
        "attributes": _attributes(link.attributes or {}),
    }


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: object) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": str(value)}
