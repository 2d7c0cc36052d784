"""Traces: manual OpenTelemetry spans, W3C context in and out, and a live share of requests that are traced.

The first service decides with ``tracing.sample`` and hands its decision on in ``traceparent``; the others follow
it. A request that is not sampled costs one random number: no span object is made for it.
Manual spans, because automatic Flask instrumentation costs three to four times as much per request.
Source: W3C Trace Context; Sigelman et al., Dapper (2010).
"""

import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, SynchronousMultiSpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags

from costlab.service import context, metrics
from costlab.service.context import random_hex
from costlab.service.flags import Flags
from costlab.service.otlp import OtlpJsonExporter
from costlab.service.span import Span

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_INVALID = ("0" * 32, "0" * 16)


class Tracing:
    """Spans of one service. ``endpoint`` is an OTLP/HTTP base URL; without one, spans are made and dropped.

    ``edge`` marks the service at the public door: it keeps the caller's trace id but not the caller's decision,
    so that nobody outside can make the system trace everything.
    """

    def __init__(self, service: str, flags: Flags, endpoint: str | None, edge: bool = False) -> None:
        self._flags = flags
        self._edge = edge
        self._endpoint = endpoint
        self._resource = Resource.create({"service.name": service})
        self._processor = SynchronousMultiSpanProcessor()

    def start(self) -> None:
        """Begin to export, from a thread of this process."""
        if self._endpoint is not None:
            self.add(BatchSpanProcessor(OtlpJsonExporter(self._endpoint)))

    def stop(self) -> None:
        """Send what is left."""
        self._processor.shutdown()

    def add(self, processor: SpanProcessor) -> None:
        """Hand every span that ends to ``processor`` too."""
        self._processor.add_span_processor(processor)

    def enter(self, request: context.Request, given: str, name: str) -> Span | None:
        """Place ``request`` in the trace of header ``given`` (or a new one); its server span if it is sampled."""
        parent = parse(given)
        if parent is None or self._edge:
            rate = self._flags["tracing.sample"]
            sampled = rate > 0 and random.random() < rate  # noqa: S311 - a sampling decision, not a secret
        else:
            sampled = bool(parent.trace_flags & TraceFlags.SAMPLED)
        if not sampled:
            request.traceparent = f"00-{given[3:35] if parent else random_hex(16)}-{random_hex(8)}-00"
            return None
        return self._start(request, parent, name, SpanKind.SERVER)

    def _start(
        self,
        request: context.Request,
        parent: SpanContext | None,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, str | int] | None = None,
    ) -> Span:
        trace_id = random.getrandbits(128) if parent is None else parent.trace_id
        identity = SpanContext(trace_id, random.getrandbits(64), is_remote=False, trace_flags=_SAMPLED)
        span = Span(name, kind, identity, parent, self._resource, self._processor, attributes)
        metrics.SPANS_STARTED.inc()
        request.traceparent = render(identity)
        request.span = span
        return span

    @contextmanager
    def child(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, str | int] | None = None
    ) -> Iterator[Span | None]:
        """A span below the current request's; None, at no cost, when that is not sampled."""
        request = context.current()
        if request is None or request.span is None:
            yield None
            return
        parent, header = request.span, request.traceparent
        span = self._start(request, parent.context, name, kind, attributes)
        try:
            yield span
        except Exception as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            span.end()
            request.span, request.traceparent = parent, header


def parse(header: str) -> SpanContext | None:
    """The remote span a ``traceparent`` names, or None when the header is absent or malformed."""
    match = _TRACEPARENT.fullmatch(header)
    if match is None or match[1] == _INVALID[0] or match[2] == _INVALID[1]:
        return None
    return SpanContext(int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(int(match[3], 16)))


def render(span: SpanContext) -> str:
    """The ``traceparent`` header of a span."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
