"""A client-side timeout for PostgreSQL: a call that is not answered in time has its connection cut off.

libpq waits for an answer without end. ``statement_timeout`` is kept by the server: one that stands still keeps
nothing, and it does not know how long the request has left. So a thread per process looks after the calls under way
and shuts down the socket of one that is late; whoever waits for it gets an error at once.

Example: PostgreSQL is paused for a minute, and requests have 500 ms. Without, each holds a thread until it is resumed,
and eight of them hold the whole service; with it, each holds one for 500 ms. What it costs a call is in
`make bench-flags`.

Trade-off: the connection is lost, and the server, if it lives, works on until statement_timeout. Whether a write that
was cut off took place is not known. Use instead: a connection in asynchronous mode, where nothing needs COPY.

Units: seconds, monotonic. Source: pgjdbc, ``socketTimeout``.
"""

import math
import os
import socket
import threading
import time
from contextlib import suppress

import psycopg2
from psycopg2.extensions import connection

# A call that begins need not wake the thread unless it ends before the thread's next look.
LOOK_SECONDS = 0.25


class TimedOut(psycopg2.OperationalError):
    """The call was cut off."""


class Call:
    """A call on ``link`` that may take ``seconds``: a context, which raises TimedOut when it was cut off."""

    __slots__ = ("_seconds", "_timeout", "cut", "link", "until")

    def __init__(self, timeout: "ClientTimeout", link: connection, seconds: float) -> None:
        self._timeout = timeout
        self._seconds = seconds
        self.link = link
        self.until = 0.0
        self.cut = False

    def __enter__(self) -> None:
        if self._seconds <= 0:
            raise TimedOut("the time allowed was over before")
        self.until = time.monotonic() + self._seconds
        self._timeout.begin(self)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._timeout.end(self)
        if self.cut and isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
            raise TimedOut(f"no answer within {self._seconds:.3f} s") from error


class ClientTimeout:
    """Cuts off what takes longer than it may."""

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._next_look = 0.0
        self._thread: threading.Thread | None = None

    def within(self, link: connection, seconds: float) -> Call:
        """``with timeout.within(link, 0.5): ...``: what is done in the block on ``link`` may take half a second."""
        return Call(self, link, seconds)

    def begin(self, call: Call) -> None:
        """Look after ``call``."""
        with self._lock:
            self._calls.add(call)
            # A forked process has the object of its parent's thread, but not the thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._look, name="client-timeout", daemon=True)
                self._thread.start()
            elif call.until < self._next_look:
                self._changed.notify()

    def end(self, call: Call) -> None:
        """It is over; its connection is left alone from now on."""
        with self._lock:
            self._calls.discard(call)

    def _look(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for call in self._calls:
                    if call.until <= now and not call.cut:
                        call.cut = True
                        _shut_down(call.link)
                ends = [call.until for call in self._calls if not call.cut]
                self._next_look = min(*ends, now + LOOK_SECONDS) if ends else math.inf
                self._changed.wait(self._next_look - now if ends else None)


def _shut_down(link: connection) -> None:
    """End the connection under the thread that waits for it, without closing a descriptor that it still uses."""
    with suppress(OSError, psycopg2.Error), socket.socket(fileno=os.dup(link.fileno())) as other:
        other.shutdown(socket.SHUT_RDWR)
