"""Where faults meet what a service does: the requests that come in, and the calls that go out.

    request ──► Inbound ──► the service ──► Edge users, Edge postgres, Edge redis ──► ...

While no fault is active each of them costs a look at one attribute, ``active``, which is empty. What a fault does is
done in the thread that has the request or makes the call; nobody else waits for it.
"""

import errno
import itertools
import math
import os
import re
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable
from threading import Event
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from costlab.service import context, metrics, problem
from costlab.service.context import ROUTE
from costlab.service.fault_kinds.chance import decide, sequence
from costlab.service.fault_kinds.effects import Answer, Break, Crash, Dribble, Effect, Kind, Wait
from costlab.service.faults import Record
from costlab.service.health import PATHS

# A body that dribbles leaves in as many parts per second.
PARTS_PER_SECOND = 10
INJECTED = "A fault was injected."
# Whom a request is for, as the gateway says it.
CLIENT = "HTTP_X_CLIENT"
_ON = struct.pack("ii", 1, 0)
_PARAMETER = re.compile(r"<(?:(\w+):)?\w+>|\{\w+\}")
_injected = metrics.Children(metrics.FAULTS_INJECTED)


class Active:
    """A record in force in this process until ``ends`` (monotonic clock), whatever happens elsewhere."""

    def __init__(self, record: Record, kind: Kind, ends: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.record = record
        self.ends = ends
        self._kind = kind
        self._clock = clock
        self._over = Event()
        self._numbers = itertools.count()
        self._sequence = sequence(os.environ)

    def effect(self) -> Effect | None:
        """What is done to the request at hand."""
        if self._over.is_set() or self._clock() >= self.ends:
            return None
        effect = decide(self._kind, self.record.rate, self.record.seed, next(self._numbers), self._sequence)
        if effect is not None:
            note(self.record)
        return effect

    def wait(self, seconds: float) -> None:
        """Let the time pass, at most until the fault ends."""
        self._over.wait(max(0.0, min(seconds, self.ends - self._clock())))

    def end(self) -> None:
        """Let go whoever waits."""
        self._over.set()


class Edge:
    """Calls to ``name``, which the service makes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.active: tuple[Active, ...] = ()

    def meet(self, seconds: float) -> "Answer | Break | Crash | Pace | None":
        """Pass the faults of this edge: wait as they say, TimeoutError after ``seconds``; what the caller must do."""
        return meet(self.active, seconds)


NO_EDGE = Edge("")


class Inbound:
    """Requests that come in, those about the service's health left out. ``route(path)``: the route of a path, or ""."""

    def __init__(self, route: Callable[[str], str]) -> None:
        self._route = route
        self.active: tuple[Active, ...] = ()

    def serve(
        self, faults: Iterable[Active], public: WSGIApplication, environ: WSGIEnvironment, start: StartResponse
    ) -> Iterable[bytes]:
        """The answer of ``public`` to a request that meets ``faults``."""
        path = environ["PATH_INFO"]
        if path in PATHS:
            return public(environ, start)
        client = environ.get(CLIENT, "")
        effect = meet([fault for fault in faults if _concerned(fault.record, path, client)], math.inf)
        if isinstance(effect, Answer | Break) and (route := self._route(path)):
            environ[ROUTE] = route  # nobody else will look for it
        if isinstance(effect, Crash):
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(effect, Break):
            break_connection(environ)
        if isinstance(effect, Answer):
            return refuse(effect.status, start)
        if isinstance(effect, Pace):
            return dribble(public, environ, start, effect)
        return public(environ, start)


class Pace:
    """The pace at which a body goes through while ``fault`` is active."""

    def __init__(self, fault: Active, bytes_per_second: float) -> None:
        self._fault = fault
        self._bytes_per_second = bytes_per_second

    def part(self) -> int:
        """Bytes that go at once."""
        return max(1, int(self._bytes_per_second / PARTS_PER_SECOND))

    def wait(self, size: int, seconds: float = math.inf) -> None:
        """Let the time of ``size`` bytes pass; TimeoutError when that is more than ``seconds``."""
        until = time.monotonic() + seconds
        self._fault.wait(min(size / self._bytes_per_second, seconds))
        if time.monotonic() >= until:
            raise TimeoutError("the time allowed is over")


def meet(faults: Iterable[Active], seconds: float) -> Answer | Break | Crash | Pace | None:
    """Wait as ``faults`` say, in turn; the first answer or break ends it. TimeoutError after ``seconds``."""
    until = time.monotonic() + seconds
    pace = None
    for fault in faults:
        effect = fault.effect()
        if isinstance(effect, Break | Crash):
            fault.wait(effect.seconds)
            return effect
        if isinstance(effect, Answer):
            return effect
        if isinstance(effect, Dribble):
            pace = Pace(fault, effect.bytes_per_second)
        elif isinstance(effect, Wait):
            fault.wait(min(effect.seconds, until - time.monotonic()))
            if time.monotonic() >= until:
                raise TimeoutError("the time allowed is over")
    return pace


def _concerned(record: Record, path: str, client: str) -> bool:
    """Whether a request for ``path`` by ``client`` meets the fault."""
    if record.parameters.get("client", client) != client:
        return False
    return not record.route or pattern(record.route).fullmatch(path) is not None


def note(record: Record) -> None:
    """Make it seen that the fault has met somebody: a count, and a word in the trace."""
    _injected[record.fault, record.edge].inc()
    context.note("costlab.fault", record.fault)


def pattern(route: str) -> re.Pattern[str]:
    """The paths of ``route``, which is written as Flask or as the gateway writes it.

    >>> bool(pattern("/users/<int:user_id>").fullmatch("/users/7")), bool(pattern("/users/{id}").fullmatch("/users/x"))
    (True, False)
    """
    parts, position = [], 0
    for found in _PARAMETER.finditer(route):
        parts += [re.escape(route[position : found.start()]), "[0-9]+" if found[1] in (None, "int") else "[^/]+"]
        position = found.end()
    return re.compile("".join(parts) + re.escape(route[position:]))


def shape(route: str) -> str:
    """The same for all ways to write a route: ``/users/{}``."""
    return _PARAMETER.sub("{}", route)


def refuse(status: int, start: StartResponse) -> Iterable[bytes]:
    """A problem document in place of the answer, which no cache keeps: it must not outlive its fault."""
    body = problem.body(status, INJECTED, {})
    described = [("Content-Type", problem.MEDIA_TYPE), ("Content-Length", str(len(body)))]
    start(f"{status} {problem.phrase(status)}", [*described, ("Cache-Control", "no-store")])
    return (body,)


def break_connection(environ: WSGIEnvironment) -> None:
    """End the client's connection with RST.

    Closing alone would send FIN first. The descriptor is given another, unconnected socket in its place: the last
    reference to the connection is gone then, and gunicorn can close what it thinks is still the same.
    """
    link = environ.get("gunicorn.socket")
    if link is not None:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ON)
        with socket.socket() as other:
            os.dup2(other.fileno(), link.fileno())
    raise ConnectionResetError(errno.ECONNRESET, "a fault was injected")


def dribble(public: WSGIApplication, environ: WSGIEnvironment, start: StartResponse, pace: Pace) -> Iterable[bytes]:
    """Send the head of ``public``'s answer at once and its body at that pace.

    All of it is out when this returns, so whoever times the request sees it. A piece is sent once its time is over:
    sent before, a short answer would be whole at once, and no client would notice the fault.
    """
    writes: list[Callable[[bytes], object]] = []

    def begin(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        writes.append(start(status, headers, exc_info))
        return writes[-1]

    answer, size = public(environ, begin), pace.part()
    try:
        for part in answer:
            writes[-1](b"")  # a write sends the head, unless it is out (PEP 3333)
            for position in range(0, len(part), size):
                piece = part[position : position + size]
                pace.wait(len(piece))
                writes[-1](piece)
    finally:
        if hasattr(answer, "close"):
            answer.close()
    return ()
