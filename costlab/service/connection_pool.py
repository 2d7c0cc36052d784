"""A connection pool: keep connections open and lend them out, because opening one costs more than using it.

Example: a PostgreSQL connect takes about 5 ms and a point read 0.3 ms. A service that connects per query spends
95 % of its time connecting; with a pool of 4 it connects four times in its life.

Trade-off: a pool bounds concurrency. With all connections lent out, the next caller waits (the wait is measured);
too large a pool moves the queue into the database, where it costs more. ``size`` is read on every call, so a pool
can be resized while it is used; size 0 keeps nothing, bounds nothing and opens a connection for each call.

A connection that is still being opened when its caller leaves keeps its place, and is lent to others once it is there:
a peer that hangs has at most ``size`` of them to answer, however many callers come and go.

Use instead: a pooler outside the process (PgBouncer) when many processes share one database.

Units: seconds. Errors: PoolTimeout when no connection came free in time; whatever ``open`` raises, StillOpening too.
Source: HikariCP, "About Pool Sizing" (connections = 2 x cores + spindles).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

from costlab.service import metrics

Connection = TypeVar("Connection")


class PoolTimeout(Exception):
    """Every connection was lent out for longer than the caller would wait."""


class StillOpening(Exception):
    """Raised by ``open`` for a caller who would not wait any longer; ``opening`` tells how it ends."""

    def __init__(self, message: str, opening: Future) -> None:
        super().__init__(message)
        self.opening = opening


class ConnectionPool(Generic[Connection]):
    """At most ``size()`` connections to ``peer``, the most recently used one lent out first."""

    def __init__(
        self,
        peer: str,
        open: Callable[[], Connection],
        close: Callable[[Connection], None],
        size: Callable[[], int],
    ) -> None:
        self._open = open
        self._close = close
        self._size = size
        self._idle: deque[Connection] = deque()
        self._lent = 0
        self._returned = threading.Condition()
        self._opened = metrics.CONNECTIONS_OPENED.labels(peer)
        self._waited = metrics.CONNECTION_WAIT_SECONDS.labels(peer)

    @contextmanager
    def lend(
        self, timeout: float, is_dead: Callable[[Connection], bool] | None = None
    ) -> Iterator[tuple[Connection, bool]]:
        """A connection and whether it was used before. It goes back afterwards, unless the block raised.

        An idle one that ``is_dead`` is not lent: others are likely to be dead too, so all are closed and one is opened.
        """
        connection, reused = self._usable(self._take(timeout), is_dead)
        healthy = False
        try:
            yield connection, reused
            healthy = True
        finally:
            self._give_back(connection, healthy)

    def clear(self) -> None:
        """Close every idle connection, for instance after the peer has restarted."""
        with self._returned:
            idle, self._idle = self._idle, deque()
        for connection in idle:
            self._close(connection)

    def _take(self, timeout: float) -> Connection | None:
        """An idle connection, or None with the right to open one."""
        with self._returned:
            size = self._size()
            if size and self._lent >= size:
                self._wait(timeout)
            self._lent += 1
            return self._idle.pop() if self._idle and size else None

    def _usable(self, idle: Connection | None, is_dead: Callable[[Connection], bool] | None) -> tuple[Connection, bool]:
        """``idle``, or a new one in its place, which is free again when there will be none."""
        try:
            if idle is not None:
                if is_dead is None or not is_dead(idle):
                    return idle, True
                self._close(idle)
                self.clear()
            connection = self._open()
        except StillOpening as late:
            late.opening.add_done_callback(self._arrived)
            raise
        except BaseException:
            self._give_back(None, healthy=False)
            raise
        self._opened.inc()
        return connection, False

    def _arrived(self, opening: "Future[Connection]") -> None:
        """Whoever had it opened is gone."""
        if opening.exception() is not None:
            self._give_back(None, healthy=False)
        else:
            self._opened.inc()
            self._give_back(opening.result(), healthy=True)

    def _wait(self, timeout: float) -> None:
        started = time.perf_counter()
        free = self._returned.wait_for(lambda: not self._size() or self._lent < self._size(), timeout)
        self._waited.observe(time.perf_counter() - started)
        if not free:
            raise PoolTimeout(f"all {self._size()} connections were in use for {timeout:.1f} s")

    def _give_back(self, connection: Connection | None, healthy: bool) -> None:
        surplus = []
        with self._returned:
            self._lent -= 1
            if connection is not None:
                (self._idle if healthy else surplus).append(connection)
            while self._idle and self._lent + len(self._idle) > self._size():
                surplus.append(self._idle.popleft())
            self._returned.notify()
        for extra in surplus:
            self._close(extra)
