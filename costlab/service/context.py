"""What a service knows about the request it is working on: its id, its deadline and its place in a trace.

Set once by the door (costlab/service/door.py), read by logs, spans, problem documents and the HTTP client.
"""

import random
import re
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext

REQUEST_ID = "X-Request-Id"
TIMEOUT = "X-Request-Timeout-Ms"
# Sent by whoever retries: the layers behind must not, or attempts multiply.
NO_RETRY = "X-No-Retry"
# Where whoever matched the route (Flask, the proxies, or a fault) leaves it in the WSGI environment.
ROUTE = "costlab.route"
SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class Request:
    """One request in flight. ``deadline`` is on the monotonic clock, in seconds; None means no limit was set.

    ``retried_by_caller``: whoever sent it will send it again when it fails, so nobody behind this service should.
    ``client`` is who it is for, where the gateway has found that out.
    """

    request_id: str
    deadline: float | None = None
    retried_by_caller: bool = False
    traceparent: str = ""
    span: "Span | None" = None
    # Spans of the attempts at the call being made, where it may be made more than once (tracing.py).
    attempts: "list[SpanContext] | None" = None
    client: str = ""
    # Header lines of a fault that another service shall make for this request (costlab/service/fault_header.py).
    fault: str = ""

    def remaining(self, now: float | None = None) -> float | None:
        """Seconds left until the deadline, at least 0; None when there is none."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - (time.monotonic() if now is None else now))


_current: ContextVar[Request | None] = ContextVar("costlab_request", default=None)


def current() -> Request | None:
    """The request this thread works on, or None outside of one."""
    return _current.get()


def remaining() -> float | None:
    """Seconds that this thread's request has left, at least 0; None outside of one, or when it has no deadline."""
    request = _current.get()
    return None if request is None else request.remaining()


def retried_by_caller() -> bool:
    """Whether this thread works on a request that its sender retries."""
    request = _current.get()
    return request is not None and request.retried_by_caller


def enter(request: Request | None) -> None:
    """Make ``request`` the one this thread works on; None when it is done."""
    _current.set(request)


def note(name: str, value: str) -> None:
    """Say in the trace of this thread's request, if it is sampled, what has become of it."""
    request = _current.get()
    if request is not None and request.span is not None:
        request.span.set_attribute(name, value)


def request_id(given: str) -> str:
    """The caller's request id if it is safe to log and hand on, else a new one."""
    return given if SAFE_ID.fullmatch(given) else random_hex(8)


def random_hex(length: int) -> str:
    """``length`` random bytes in hexadecimal, for ids that must differ but need not be secret."""
    return f"{random.getrandbits(8 * length):0{2 * length}x}"
