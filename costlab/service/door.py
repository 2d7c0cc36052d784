"""The door of a service: the WSGI layer every request passes, outside Flask and inside gunicorn.

It tells the internal port from the public one, gives the request its id, deadline and place in a trace, and
records its duration, status and size under the route (never the path) it matched.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from opentelemetry.trace import StatusCode

from costlab.resilience import deadline
from costlab.service import context, metrics, problem
from costlab.service.context import ROUTE
from costlab.service.fault_edges import Inbound
from costlab.service.fault_header import FAULT, FAULT_KEY, FaultHeader
from costlab.service.tracing import Tracing

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Door:
    """Wraps ``public`` (replaceable: the gateway puts its proxy in front of Flask) and ``internal``."""

    def __init__(
        self,
        public: WSGIApplication,
        internal: WSGIApplication,
        internal_port: int,
        tracing: Tracing,
        inbound: Inbound,
        fault_header: FaultHeader,
    ) -> None:
        self.public = public
        self._internal = internal
        self._internal_port = str(internal_port)
        self._inbound = inbound
        self._fault_header = fault_header
        self._tracing = tracing
        self._seconds = metrics.Children(metrics.REQUEST_SECONDS)
        self._bytes = metrics.Children(metrics.RESPONSE_BYTES)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["SERVER_PORT"] == self._internal_port:
            return self._internal(environ, start_response)
        started = time.monotonic()
        request = context.Request(
            context.request_id(environ.get("HTTP_X_REQUEST_ID", "")),
            deadline.parse(environ.get("HTTP_X_REQUEST_TIMEOUT_MS", ""), started),
            "HTTP_X_NO_RETRY" in environ,
        )
        method = environ["REQUEST_METHOD"]
        span = self._tracing.enter(request, environ.get("HTTP_TRACEPARENT", ""), method)
        context.enter(request)
        outcome = _Outcome(request.request_id, start_response)
        try:
            if FAULT_KEY in environ:
                return self._asked_for_a_fault(environ, request, outcome)
            if faults := self._inbound.active:
                return self._inbound.serve(faults, self.public, environ, outcome.start)
            return self.public(environ, outcome.start)
        finally:
            context.enter(None)
            route = environ.get(ROUTE, "unmatched")
            known = method if method in _METHODS else "_OTHER"
            seconds = time.monotonic() - started
            self._seconds[known, route, outcome.status].observe(seconds)
            self._bytes[route,].inc(outcome.length)
            if span is not None:
                span.update_name(f"{known} {route}")
                span.set_attribute("http.response.status_code", int(outcome.status))
                if outcome.status >= "500":
                    span.set_status(StatusCode.ERROR)
                span.end()
                metrics.REQUEST_EXEMPLARS.note((known, route, outcome.status), seconds, request.traceparent[3:35])

    def _asked_for_a_fault(
        self, environ: WSGIEnvironment, request: context.Request, outcome: "_Outcome"
    ) -> Iterable[bytes]:
        """Serve a request whose sender wants a fault for it."""
        try:
            asked = self._fault_header.read(environ, request)
        except problem.Problem as refused:
            return problem.serve(refused, outcome.start)
        if asked is None:
            return self._inbound.serve(self._inbound.active, self.public, environ, outcome.start)
        outcome.more.append((FAULT, asked.record.fault))
        return self._inbound.serve((*self._inbound.active, asked), self.public, environ, outcome.start)


class _Outcome:
    """What was answered: status, declared length; adds the request id to the response."""

    def __init__(self, request_id: str, start_response: StartResponse) -> None:
        self.status = "500"
        self.length = 0
        self.more: list[tuple[str, str]] = []
        self._request_id = request_id
        self._start_response = start_response

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        self.status = status[:3]
        for name, value in headers:
            if name.lower() == "content-length":
                self.length = int(value)
        return self._start_response(status, [*headers, *self.more, (context.REQUEST_ID, self._request_id)], exc_info)
