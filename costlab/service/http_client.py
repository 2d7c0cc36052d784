"""The HTTP/1.1 client of every service: pooled keep-alive connections, one deadline, context handed on.

It writes bytes to a socket and lets llhttp (httptools) parse what comes back, because building request and response
objects is most of what a proxy spends: docs/decisions.md has the figures against urllib3 and http.client.

    UpstreamError                 the call gave no answer one may use
    ├── UpstreamUnreachable       no connection, or it broke before an answer came
    ├── UpstreamTimeout           no answer within the time allowed
    └── UpstreamRefused           the circuit is open, or the throttle holds back: the call was not made

An answer with status 5xx is an answer: it is returned, but counts as a failure for the circuit breaker.

Where the upstream has several replicas (replica_set.py), an attempt goes on to the next one when nothing was sent
because no connection could be made, and, for a safe method, also when the connection broke.
"""

import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import SystemRandom
from typing import ClassVar, NamedTuple

import httptools

from costlab.resilience.backoff import BACKOFFS
from costlab.resilience.circuit_breaker import CircuitBreaker, CircuitOpen
from costlab.resilience.client_throttle import ClientThrottle, Throttled
from costlab.resilience.deadline import nearest
from costlab.resilience.retry import RETRIED, Retry
from costlab.resilience.retry_budget import RetryBudget
from costlab.service import context, metrics, problem
from costlab.service.addresses import Address
from costlab.service.connection_pool import ConnectionPool, PoolTimeout
from costlab.service.fault_edges import INJECTED, NO_EDGE, Edge, Pace
from costlab.service.fault_kinds.effects import Answer as Injected
from costlab.service.fault_kinds.effects import Break
from costlab.service.flags import Flags
from costlab.service.replica_set import Picker, Replica, ReplicaSet
from costlab.service.tracing import Tracing

CONNECT_SECONDS = 1.0
MAX_BODY = 32 * 1024 * 1024
# A call whose deadline is nearer says more about its caller than about the upstream: it is not held against that one,
# or anybody could open the circuit for everybody with a few requests that have a millisecond left.
FAIR_SECONDS = 0.05
_TARGET = re.compile(r"/[!-~]*")
# These change nothing when done twice: they may be retried, and are sent again on a new connection when an idle one
# turns out to be closed.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# What else an Idempotency-Key makes repeatable, while the flag is on. Nobody else heeds keys (docs/decisions.md, 45).
HEEDING_KEYS = {("POST", "/orders"): "orders.idempotency"}
# A retry is worth more than its own hop on loopback (1 ms), and the third attempt still fits into a short deadline.
RETRY_BASE_SECONDS = 0.05
RETRY_CAP_SECONDS = 2.0
_NO_RETRY = (context.NO_RETRY.lower(), "1")

Headers = Sequence[tuple[str, str]]

# Seeded by the system at every draw: processes forked from one another must not wait the same pauses.
_random = SystemRandom()


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
    """The circuit is open, or the throttle holds back: the call was not made."""

    outcome = "refused"


class _ServerError(Exception):
    """Carries a 5xx answer through a breaker or throttle as the failure it is."""

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


class _Call(NamedTuple):
    """What is asked of the upstream, and until when (on the monotonic clock), all attempts included.

    ``tried``: the replicas it was sent to so far.
    """

    method: str
    target: str
    headers: Headers
    body: bytes
    deadline: float
    tried: list[Replica]


class HttpClient:
    """Calls one upstream, at ``base_url`` or at several, separated by commas.


    ``timeout`` in seconds bounds a call, with its retries, unless the deadline is nearer. ``picker`` says which replica
    is asked, where there are several.
    """

    def __init__(
        self,
        upstream: str,
        base_url: str,
        flags: Flags,
        tracing: Tracing,
        timeout: float = 5.0,
        edge: Edge = NO_EDGE,
        picker: Picker | None = None,
    ) -> None:
        self.upstream = upstream
        self._flags = flags
        self._tracing = tracing
        self._timeout = timeout
        self._edge = edge
        self._replicas = ReplicaSet(upstream, base_url, self._pool, picker or Picker(), flags)
        self._breaker = CircuitBreaker(upstream)
        self._throttle = ClientThrottle(upstream)
        self._budget = RetryBudget()
        self._seconds = metrics.Children(metrics.CLIENT_SECONDS)
        self._retries = metrics.Children(metrics.RETRIES)
        self._failovers = metrics.REPLICA_FAILOVERS.labels(upstream)

    def get(self, target: str, headers: Headers = ()) -> Answer:
        """GET ``target`` (path and query)."""
        return self.request("GET", target, headers)

    def request(self, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Answer:
        """The upstream's answer; UpstreamError when there is none. Request id, deadline and trace are added."""
        if not _TARGET.fullmatch(target):
            raise ValueError(f"a request target is a path without spaces, not {target!r}")
        call = _Call(method, target, headers, body, self._by(self._timeout), [])
        backoff = self._flags["http.retry"]
        return self._attempt(call) if backoff == "off" else self._attempts(call, backoff)

    def start(self) -> None:
        """Follow what DNS says about the upstream."""
        self._replicas.start()

    def close(self) -> None:
        """Stop that, and close every idle connection."""
        self._replicas.close()

    def _by(self, timeout: float) -> float:
        """When something that begins now and may take ``timeout`` seconds has to be over."""
        request = context.current()
        bound = None if request is None or self._flags["http.deadline"] == "off" else request.deadline
        return nearest(time.monotonic(), timeout, bound)

    def _attempts(self, call: _Call, backoff: str) -> Answer:
        call, retry = self._prepared(call, backoff)
        with self._tracing.attempts():
            while True:
                try:
                    answer = self._attempt(call, retry.resent)
                    if answer.status < 500 or not self._again(retry, _retry_after(answer)):
                        return answer
                except (UpstreamUnreachable, UpstreamTimeout):
                    if not self._again(retry):
                        raise

    def _prepared(self, call: _Call, backoff: str) -> tuple[_Call, Retry]:
        """The call with a word to the services behind whether they may retry too, and what this one may do."""
        one_layer = self._flags["http.retry_layers"] == "one"
        caller_retries = one_layer and context.retried_by_caller()
        repeatable = self._repeatable(call)
        if one_layer and (caller_retries or repeatable):
            call = call._replace(headers=(*call.headers, _NO_RETRY))
        allowed = self._flags["http.retry_attempts"] if repeatable and not caller_retries else 1
        pauses = BACKOFFS[backoff](RETRY_BASE_SECONDS, RETRY_CAP_SECONDS, _random)
        return call, Retry(allowed, pauses, call.deadline, self._granting())

    def _repeatable(self, call: _Call) -> bool:
        """Whether the upstream may get the request twice: that changes nothing, or it heeds the key of the first."""
        if call.method in _IDEMPOTENT:
            return True
        heeding = HEEDING_KEYS.get((call.method, call.target))
        return heeding is not None and self._flags[heeding] == "on" and _has_key(call)

    def _granting(self) -> Callable[[], bool]:
        share = self._flags["http.retry_budget"]
        if share == "off":
            return lambda: True
        self._budget.deposit(share)
        return self._budget.take

    def _again(self, retry: Retry, after: float = 0.0) -> bool:
        outcome = retry.again(after)
        self._retries[self.upstream, outcome].inc()
        return outcome == RETRIED

    def _attempt(self, call: _Call, resent: int = 0) -> Answer:
        started = time.perf_counter()
        outcome = "error"
        try:
            with self._tracing.attempt(f"{call.method} {self.upstream}", resent) as span:
                answer = self._guarded(call)
                if span is not None:
                    span.set_attribute("http.response.status_code", answer.status)
            outcome = "ok" if answer.status < 500 else "error"
            return answer
        except UpstreamError as error:
            outcome = error.outcome
            raise
        finally:
            self._seconds[self.upstream, outcome].observe(time.perf_counter() - started)

    def _guarded(self, call: _Call) -> Answer:
        kind = self._flags["http.breaker"]
        if kind == "off":
            return self._exchanged(call)
        throttled = kind == "client_throttle"
        fair = call.deadline - time.monotonic() >= FAIR_SECONDS
        try:
            with self._throttle.guard(self._flags["http.breaker_k"], fair) if throttled else self._breaker.guard(fair):
                answer = self._exchanged(call)
                if answer.status >= 500:
                    raise _ServerError(answer)
                return answer
        except _ServerError as error:
            return error.answer
        except (CircuitOpen, Throttled) as error:
            raise UpstreamRefused(f"{self.upstream} has been failing and is not called for now") from error

    def _exchanged(self, call: _Call) -> Answer:
        now = time.monotonic()
        seconds = self._attempt_seconds(max(0.0, call.deadline - now))
        try:
            if self._edge.active:
                return self._faulty(call, now + seconds)
            return self._sent(call, now + seconds)
        except (TimeoutError, PoolTimeout) as error:
            raise UpstreamTimeout(f"{self.upstream} did not answer within {seconds:.2f} s") from error
        except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise UpstreamUnreachable(f"{self.upstream} cannot be reached: {error}") from error

    def _faulty(self, call: _Call, deadline: float) -> Answer:
        """What comes of the call with the faults of this edge before it, or behind it; of all replicas alike."""
        effect = self._edge.meet(_left(deadline))
        if isinstance(effect, Break):
            raise ConnectionResetError("connection reset by peer")
        if isinstance(effect, Injected):
            body = problem.body(effect.status, INJECTED, {})
            headers = [("content-type", problem.MEDIA_TYPE), ("cache-control", "no-store")]
            return Answer(effect.status, headers, body)
        answer = self._sent(call, deadline)
        if isinstance(effect, Pace):
            effect.wait(len(answer.body), _left(deadline))
        return answer

    def _sent(self, call: _Call, deadline: float) -> Answer:
        replicas = self._replicas.now()
        if len(replicas) == 1:
            return self._ask(replicas[0], call, deadline)
        while True:
            replica = self._replicas.choose(call.tried)
            call.tried.append(replica)
            try:
                return self._counted(replica, call, deadline)
            except ConnectionError as error:
                movable = isinstance(error, _NotSent) or call.method in _SAFE
                if not movable or not self._replicas.untried(call.tried):
                    raise
                self._failovers.inc()

    def _counted(self, replica: Replica, call: _Call, deadline: float) -> Answer:
        outcome = "unreachable"
        fair = call.deadline - time.monotonic() >= FAIR_SECONDS
        self._replicas.began(replica)
        try:
            answer = self._ask(replica, call, deadline)
            outcome = "ok" if answer.status < 500 else "error"
            return answer
        except (TimeoutError, PoolTimeout):
            outcome = "timeout"
            raise
        finally:
            self._replicas.ended(replica, outcome, fair)

    def _ask(self, replica: Replica, call: _Call, deadline: float) -> Answer:
        while True:
            stale = False
            try:
                with replica.pool.lend(_left(deadline)) as (connection, reused):
                    stale = reused and call.method in _IDEMPOTENT
                    # Now, because waiting for the connection took from the time that is handed on.
                    message = self._message(call, replica.address.authority, context.current(), deadline)
                    answer, keep = connection.exchange(message, call.method == "HEAD", deadline)
                    if not keep:
                        raise _Finished(answer)
                    return answer
            except _Finished as finished:
                return finished.answer
            except _ClosedWhileIdle:
                replica.pool.clear()
            except ConnectionError:
                if not stale:
                    raise
                replica.pool.clear()

    def _message(self, call: _Call, host: str, request: context.Request | None, deadline: float) -> bytes:
        lines = [f"{call.method} {call.target} HTTP/1.1\r\nhost: {host}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in call.headers]
        if request is not None:
            lines.append(f"x-request-id: {request.request_id}\r\ntraceparent: {request.traceparent}\r\n")
            if request.fault:
                lines.append(request.fault)
            if self._flags["http.deadline"] == "on":
                lines.append(f"x-request-timeout-ms: {int(_left(deadline) * 1000)}\r\n")
        if call.body or call.method in ("POST", "PUT", "PATCH"):
            lines.append(f"content-length: {len(call.body)}\r\n")
        return "".join(lines).encode("latin-1") + b"\r\n" + call.body

    def _attempt_seconds(self, allowed: float) -> float:
        longest = self._flags["http.attempt_timeout"]
        return allowed if longest == "none" else min(allowed, longest)

    def _pool_size(self) -> int:
        return 0 if self._flags["http.reuse"] == "per_call" else self._flags["http.pool_size"]

    def _pool(self, address: Address) -> "ConnectionPool[_Connection]":
        return ConnectionPool(self.upstream, lambda: self._connect(address), _Connection.close, self._pool_size)

    def _connect(self, address: Address) -> "_Connection":
        left = _left(self._by(self._attempt_seconds(CONNECT_SECONDS)))
        try:
            return _Connection(socket.create_connection((address.host, address.port), timeout=left))
        except TimeoutError as error:
            raise _NotSentInTime(str(error)) from error
        except OSError as error:
            raise _NotSent(str(error)) from error


class _NotSent(ConnectionError):
    """No connection could be made, so nothing was sent: the request may go elsewhere, whatever it asks for."""


class _NotSentInTime(_NotSent, TimeoutError):
    """The same, because nothing came back at all."""


class _ClosedWhileIdle(ConnectionError):
    """The pooled connection had been closed by the other side before anything was sent on it."""


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
            raise _ClosedWhileIdle("the idle connection was closed by the other side")
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


def _has_key(call: _Call) -> bool:
    return any(name.lower() == "idempotency-key" for name, _ in call.headers)


def _retry_after(answer: Answer) -> float:
    """The seconds for which the upstream asked not to be called again."""
    given = answer.header("retry-after")
    return float(given) if given.isascii() and given.isdigit() else 0.0


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time allowed is over")
    return left
