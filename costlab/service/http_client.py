"""The HTTP/1.1 client of every service: pooled keep-alive connections, one deadline, context handed on.

It writes bytes to a socket and lets llhttp (httptools) parse what comes back, because building request and response
objects is most of what a proxy spends: docs/decisions.md has the figures against urllib3 and http.client.

    UpstreamError                 the call gave no answer one may use
    ├── UpstreamUnreachable       no connection, or it broke before an answer came
    ├── UpstreamTimeout           no answer within the time allowed
    └── UpstreamRefused           the circuit is open: the call was not made

An answer with status 5xx is an answer: it is returned, but counts as a failure for the circuit breaker.
"""

import re
import select
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar
from urllib.parse import urlsplit

import httptools

from costlab.resilience.circuit_breaker import CircuitBreaker, CircuitOpen
from costlab.service import context, metrics
from costlab.service.connection_pool import ConnectionPool, PoolTimeout
from costlab.service.flags import Flags
from costlab.service.tracing import SpanKind, Tracing

CONNECT_SECONDS = 1.0
MAX_BODY = 32 * 1024 * 1024
_TARGET = re.compile(r"/[!-~]*")
# Sent again on a new connection when an idle one turns out to be closed: these change nothing when done twice.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})

Headers = Iterable[tuple[str, str]]


class UpstreamError(Exception):
    """The call gave no answer one may use."""

    outcome: ClassVar[str] = "error"


class UpstreamUnreachable(UpstreamError):
    """No connection could be made, or it broke before an answer came."""

    outcome = "unreachable"


class UpstreamTimeout(UpstreamError):
    """No answer within the time allowed."""

    outcome = "timeout"


class UpstreamRefused(UpstreamError):
    """The circuit is open: the call was not made."""

    outcome = "refused"


class _ServerError(Exception):
    """Carries a 5xx answer through the circuit breaker as the failure it is."""

    def __init__(self, answer: "Answer") -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(slots=True)
class Answer:
    """What an upstream answered. Header names are lower case; repeated headers appear repeatedly."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str, default: str = "") -> str:
        """The first header of that (lower-case) name."""
        return next((value for key, value in self.headers if key == name), default)


class HttpClient:
    """Calls one upstream. ``timeout`` in seconds bounds a call unless the request's deadline is nearer."""

    def __init__(self, upstream: str, base_url: str, flags: Flags, tracing: Tracing, timeout: float = 5.0) -> None:
        parts = urlsplit(base_url)
        self.upstream = upstream
        self._address = (parts.hostname or "", parts.port or 80)
        self._host = parts.netloc
        self._flags = flags
        self._tracing = tracing
        self._timeout = timeout
        self._pool = ConnectionPool(upstream, self._connect, _Connection.close, self._pool_size)
        self._breaker = CircuitBreaker(upstream)
        self._seconds = metrics.Children(metrics.CLIENT_SECONDS)

    def get(self, target: str, headers: Headers = ()) -> Answer:
        """GET ``target`` (path and query)."""
        return self.request("GET", target, headers)

    def request(self, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Answer:
        """The upstream's answer; UpstreamError when there is none. Request id, deadline and trace are added."""
        if not _TARGET.fullmatch(target):
            raise ValueError(f"a request target is a path without spaces, not {target!r}")
        started = time.perf_counter()
        outcome = "error"
        try:
            with self._tracing.child(f"{method} {self.upstream}", SpanKind.CLIENT) as span:
                answer = self._guarded(method, target, headers, body)
                if span is not None:
                    span.set_attribute("http.response.status_code", answer.status)
            outcome = "ok" if answer.status < 500 else "error"
            return answer
        except UpstreamError as error:
            outcome = error.outcome
            raise
        finally:
            self._seconds[self.upstream, outcome].observe(time.perf_counter() - started)

    def close(self) -> None:
        """Close every idle connection."""
        self._pool.clear()

    def _guarded(self, method: str, target: str, headers: Headers, body: bytes) -> Answer:
        if self._flags["http.breaker"] == "off":
            return self._call(method, target, headers, body)
        try:
            with self._breaker.guard():
                answer = self._call(method, target, headers, body)
                if answer.status >= 500:
                    raise _ServerError(answer)
                return answer
        except _ServerError as error:
            return error.answer
        except CircuitOpen as error:
            raise UpstreamRefused(f"{self.upstream} has been failing and is not called for now") from error

    def _call(self, method: str, target: str, headers: Headers, body: bytes) -> Answer:
        request = context.current()
        remaining = request.remaining() if request is not None else None
        seconds = self._timeout if remaining is None else min(self._timeout, remaining)
        deadline = time.monotonic() + seconds
        message = self._message(method, target, headers, body, request, seconds)
        try:
            return self._exchange(method, message, deadline)
        except (TimeoutError, PoolTimeout) as error:
            raise UpstreamTimeout(f"{self.upstream} did not answer within {seconds:.2f} s") from error
        except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise UpstreamUnreachable(f"{self.upstream} cannot be reached: {error}") from error

    def _exchange(self, method: str, message: bytes, deadline: float) -> Answer:
        while True:
            stale = False
            try:
                with self._pool.lend(_left(deadline)) as (connection, reused):
                    stale = reused and method in _IDEMPOTENT
                    answer, keep = connection.exchange(message, method == "HEAD", deadline)
                    if not keep:
                        raise _Finished(answer)
                    return answer
            except _Finished as finished:
                return finished.answer
            except ConnectionError:
                if not stale:
                    raise
                self._pool.clear()

    def _message(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes,
        request: context.Request | None,
        seconds: float,
    ) -> bytes:
        lines = [f"{method} {target} HTTP/1.1\r\nhost: {self._host}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in headers]
        if request is not None:
            lines.append(
                f"x-request-id: {request.request_id}\r\ntraceparent: {request.traceparent}\r\n"
                f"x-request-timeout-ms: {int(seconds * 1000)}\r\n"
            )
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"content-length: {len(body)}\r\n")
        return "".join(lines).encode("latin-1") + b"\r\n" + body

    def _pool_size(self) -> int:
        return 0 if self._flags["http.reuse"] == "per_call" else self._flags["http.pool_size"]

    def _connect(self) -> "_Connection":
        return _Connection(socket.create_connection(self._address, timeout=CONNECT_SECONDS))


class _Finished(Exception):
    """Ends the loan of a connection that the upstream closes after this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class _Connection:
    """One keep-alive connection, and the callbacks llhttp makes while it parses an answer."""

    def __init__(self, link: socket.socket) -> None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._link = link
        self._poll = select.poll()
        self._poll.register(link, select.POLLIN)
        self._used = False

    def close(self) -> None:
        self._link.close()

    def exchange(self, message: bytes, head: bool, deadline: float) -> tuple[Answer, bool]:
        """Send ``message`` and read its answer; also whether the connection can be used again."""
        if self._used and self._poll.poll(0):
            raise ConnectionResetError("the idle connection was closed by the other side")
        self._used = True
        self._answer, self._body, self._complete, self._head = Answer(), [], False, head
        self._size, self._keep = 0, False
        self._link.settimeout(_left(deadline))
        self._link.sendall(message)
        self._parser = httptools.HttpResponseParser(self)
        while not self._complete:
            data = self._link.recv(65536)
            if not data:
                return self._at_end_of_stream()
            self._parser.feed_data(data)
            if not self._complete:
                self._link.settimeout(_left(deadline))
        self._answer.body = b"".join(self._body)
        return self._answer, self._keep

    def _at_end_of_stream(self) -> tuple[Answer, bool]:
        """An answer without a length ends when the connection does; any other end is a broken answer."""
        framed = self._answer.header("content-length") or self._answer.header("transfer-encoding")
        if not self._answer.status or framed:
            raise ConnectionResetError("the connection was closed in the middle of an answer")
        self._answer.body = b"".join(self._body)
        return self._answer, False

    # llhttp's callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers.append((_lower(name), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        self._keep = self._parser.should_keep_alive()
        # The length in an answer to HEAD is that of a body which is not sent.
        self._complete = self._head and self._answer.status >= 200

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY:
            raise ConnectionError(f"the answer is larger than {MAX_BODY} bytes")
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._answer.status < 200:  # 100 Continue and its like come before the answer
            self._answer = Answer()
        else:
            self._complete = True


@lru_cache(maxsize=256)
def _lower(name: bytes) -> str:
    """A header's name; the same few come with every answer."""
    return name.decode("latin-1").lower()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time allowed is over")
    return left
