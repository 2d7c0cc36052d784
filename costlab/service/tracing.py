"""Traces: manual OpenTelemetry spans, W3C context in and out, and a live share of requests that are traced.

The first service decides with ``tracing.sample`` and hands its decision on in ``traceparent``; the others follow
it. A request that is not sampled costs one random number: no span object is made for it.
A call that is made again, by a retry or a hedge, has a client span for each attempt; every later one is linked to the
first. A message carries the span that sent it, so that the trace goes on where it is worked on.
Manual spans, because automatic Flask instrumentation costs three to four times as much per request.
Source: W3C Trace Context; Sigelman et al., Dapper (2010).
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags

from costlab.service import context, kept_spans, metrics
from costlab.service.context import random_hex
from costlab.service.flags import Flags
from costlab.service.otlp import OtlpJsonExporter

# A batch leaves every so often, OpenTelemetry's own default: more often, and little traffic pays more for its batches
# than for its spans; more seldom, and whoever looks for a trace has to wait for it.
EXPORT_MS = 5000
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NOWHERE = Context()
_UNSAMPLED: AbstractContextManager[None] = nullcontext()
_INVALID = ("0" * 32, "0" * 16)

Attributes = Mapping[str, str | int | float | Sequence[str]]


class _Resource(Resource):
    """Hashed once. The exporter asks for the hash for every span, and the SDK writes JSON each time to find it."""

    @classmethod
    def of(cls, service: str) -> "_Resource":
        full = Resource.create({"service.name": service})
        made = cls(full.attributes, full.schema_url)
        made._hash = Resource.__hash__(made)
        return made

    def __hash__(self) -> int:
        return self._hash


class Tracing:
    """Spans of one service. ``endpoint`` is an OTLP/HTTP base URL; without one, spans are kept (kept_spans.py) only.

    ``edge`` marks the service at the public door: it keeps the caller's trace id but not the caller's decision,
    so that nobody outside can make the system trace everything. ``circumstances``: what every span of a request or a
    job tells (circumstances.py).
    """

    def __init__(
        self,
        service: str,
        flags: Flags,
        endpoint: str | None,
        edge: bool = False,
        circumstances: Callable[[], Attributes] = dict,
    ) -> None:
        self._flags = flags
        self._edge = edge
        self._endpoint = endpoint
        self._circumstances = circumstances
        self.kept = kept_spans.of_this_service()
        # A span is only started once its trace is known to be sampled: there is nothing left for the SDK to decide.
        self._provider = TracerProvider(ALWAYS_ON, _Resource.of(service), shutdown_on_exit=False)
        self._tracer = self._provider.get_tracer("costlab")

    def start(self) -> None:
        """Begin to keep spans and to export them, from a thread of this process."""
        if self._endpoint is not None or self.kept is not None:
            exporter = OtlpJsonExporter(self._endpoint, self.kept)
            self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_MS))

    def flush(self) -> None:
        """Keep and send now what waits for its batch in this process."""
        self._provider.force_flush()

    def stop(self) -> None:
        """Keep and send what is left."""
        self._provider.shutdown()

    def enter(self, request: context.Request, given: str, name: str, kind: SpanKind = SpanKind.SERVER) -> Span | None:
        """Place ``request`` in the trace of header ``given`` (or a new one); its first span if it is sampled."""
        parent = parse(given)
        if parent is None or self._edge:
            rate = self._flags["tracing.sample"]
            sampled = rate > 0 and random.random() < rate  # noqa: S311 - a sampling decision, not a secret
        else:
            sampled = bool(parent.trace_flags & TraceFlags.SAMPLED)
        if not sampled:
            request.traceparent = f"00-{given[3:35] if parent else random_hex(16)}-{random_hex(8)}-00"
            return None
        above = NonRecordingSpan(parent) if parent else None
        attributes = {kept_spans.REQUEST_ID: request.request_id, **self._circumstances()}
        return self._start(request, above, name, kind, attributes)

    def _start(
        self,
        request: context.Request,
        parent: Span | None,
        name: str,
        kind: SpanKind,
        attributes: Attributes | None = None,
        links: Sequence[Link] = (),
    ) -> Span:
        # An empty context to begin with: spans are handed on through ``request``, never through OpenTelemetry's own.
        within = _NOWHERE if parent is None else trace.set_span_in_context(parent, _NOWHERE)
        span = self._tracer.start_span(name, within, kind, attributes, links)
        metrics.SPANS_STARTED.inc()
        request.traceparent = render(span.get_span_context())
        request.span = span
        return span

    def child(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes | None = None
    ) -> AbstractContextManager[Span | None]:
        """A span below the current request's; None, at next to no cost, when that is not sampled."""
        request = context.current()
        if request is None or request.span is None:
            return _UNSAMPLED
        return self._child(request, name, kind, attributes)

    def attempts(self) -> AbstractContextManager[None]:
        """What is called in the block are attempts at one call, unless a hedge has said so before."""
        request = context.current()
        if request is None or request.span is None or request.attempts is not None:
            return _UNSAMPLED
        return _together(request)

    def attempt(self, name: str, resent: int) -> AbstractContextManager[Span | None]:
        """The client span of a call, the ``resent``-th time it is sent again; linked to the first attempt at it."""
        request = context.current()
        if request is None or request.span is None:
            return _UNSAMPLED
        return self._attempt(request, name, resent)

    @contextmanager
    def _attempt(self, request: context.Request, name: str, resent: int) -> Iterator[Span]:
        before = request.attempts
        links = [Link(before[0], {"costlab.attempt": "retry" if resent else "hedge"})] if before else []
        attributes = {"http.request.resend_count": resent} if resent else None
        with self._child(request, name, SpanKind.CLIENT, attributes, links) as span:
            if before is not None:
                before.append(span.get_span_context())
            yield span

    def follow(self, given: str, name: str, kind: SpanKind) -> Span | None:
        """A span below that of header ``given``, for work that no request waits for; None when it is not sampled."""
        parent = parse(given)
        if parent is None or not parent.trace_flags & TraceFlags.SAMPLED:
            return None
        return self._start(context.Request(""), NonRecordingSpan(parent), name, kind)

    @contextmanager
    def _child(
        self,
        request: context.Request,
        name: str,
        kind: SpanKind,
        attributes: Attributes | None,
        links: Sequence[Link] = (),
    ) -> Iterator[Span]:
        parent, header = request.span, request.traceparent
        span = self._start(request, parent, name, kind, attributes, links)
        try:
            yield span
        except Exception as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            span.end()
            request.span, request.traceparent = parent, header


@contextmanager
def _together(request: context.Request) -> Iterator[None]:
    request.attempts = []
    try:
        yield
    finally:
        request.attempts = None


def parse(header: str) -> SpanContext | None:
    """The remote span a ``traceparent`` names, or None when the header is absent or malformed."""
    match = _TRACEPARENT.fullmatch(header)
    if match is None or match[1] == _INVALID[0] or match[2] == _INVALID[1]:
        return None
    return SpanContext(int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(int(match[3], 16)))


def render(span: SpanContext) -> str:
    """The ``traceparent`` header of a span."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
