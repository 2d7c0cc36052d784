"""PostgreSQL for a service: pooled connections, one statement or one transaction at a time, every statement counted.

    rows = database.query("select id, name from users where id = %s", [7])
    with database.transaction() as cursor:
        cursor.execute(...)

A database that cannot be reached or does not answer in time becomes a 503; nothing waits beyond the request's
deadline (client_timeout.py). A statement outside a transaction is sent once more when the connection it used turned out
to be dead. A transaction, and a statement that must not take effect twice (``again=False``), is sent once; an idle
connection that has hung up is exchanged for a new one before that.
"""

import os
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, connection, cursor

from costlab.service import context, metrics
from costlab.service.client_timeout import ClientTimeout, TimedOut
from costlab.service.connection_pool import ConnectionPool, PoolTimeout, StillOpening
from costlab.service.fault_edges import NO_EDGE, Edge
from costlab.service.fault_kinds.effects import Answer, Break
from costlab.service.flags import Flags
from costlab.service.problem import Unavailable
from costlab.service.tracing import SpanKind, Tracing

CONNECT_SECONDS = 3
STATEMENT_SECONDS = 10
ROLLBACK_SECONDS = 1
PING = "select 1"
_LOST = (psycopg2.OperationalError, psycopg2.InterfaceError)


class CountingCursor(cursor):
    """A cursor that counts each statement sent, and before that passes the faults of ``edge``; bounded in time."""

    edge: Edge
    timeout: ClientTimeout

    def execute(self, query: str, vars: Sequence[Any] | dict[str, Any] | None = None) -> None:
        if self.edge.active:
            self._meet()
        # A readiness probe comes when it likes: its statement is no request's.
        if query is not PING:
            metrics.DB_QUERIES.inc()
        with self.timeout.within(self.connection, _left()):
            super().execute(query, vars)

    def copy_expert(self, sql: str, file: Any, size: int = 8192) -> None:
        if self.edge.active:
            self._meet()
        metrics.DB_QUERIES.inc()
        with self.timeout.within(self.connection, _left()):
            super().copy_expert(sql, file, size)

    def _meet(self) -> None:
        """As the server would: a statement that takes too long is cancelled, a refused one has a code."""
        try:
            effect = self.edge.meet(_left())
        except TimeoutError as error:
            raise psycopg2.errors.QueryCanceled("canceling statement due to an injected fault") from error
        if isinstance(effect, Break):
            with socket.socket(fileno=os.dup(self.connection.fileno())) as link:
                link.shutdown(socket.SHUT_RDWR)
        elif isinstance(effect, Answer):
            raise psycopg2.errors.InternalError_("an injected fault")


class Database:
    """The PostgreSQL of one service. ``dsn`` is a libpq URL; the pool's size is the flag ``db.pool``."""

    def __init__(self, dsn: str, flags: Flags, tracing: Tracing, application: str, edge: Edge = NO_EDGE) -> None:
        self._dsn = dsn
        self._timeout = ClientTimeout()
        self._cursor = type("BoundedCursor", (CountingCursor,), {"edge": edge, "timeout": self._timeout})
        self._tracing = tracing
        self._application = application
        self._pool = ConnectionPool(
            "postgres",
            self._open,
            connection.close,
            lambda: 0 if flags["db.pool"] == "none" else flags["db.pool"],
        )

    def query(
        self, statement: str, parameters: Sequence[Any] | dict[str, Any] = (), again: bool = True
    ) -> list[tuple[Any, ...]]:
        """The rows of one statement, committed at once. ``again``: whether it may take effect twice."""
        for _ in range(2):
            reused = False
            try:
                with self._lend(living=not again) as (link, reused):
                    return self._rows(link, statement, parameters)
            except _LOST as error:
                self._forget(error)
                if not reused or not again or _is_timeout(error):
                    raise _unavailable(error) from error
        raise Unavailable("The database dropped the connection twice.", headers={"Retry-After": "1"})

    @contextmanager
    def transaction(self) -> Iterator[cursor]:
        """A cursor whose statements take effect together when the block ends, or not at all."""
        try:
            with (
                self._lend(living=True) as (link, _),
                self._tracing.child("postgres transaction", SpanKind.CLIENT, _SYSTEM),
            ):
                link.autocommit = False
                with self._all_or_nothing(link), link.cursor() as statements:
                    yield statements
                link.autocommit = True
        except _LOST as error:
            self._forget(error)
            raise _unavailable(error) from error

    def ping(self) -> None:
        """Raise Unavailable unless the database answers. Not counted as a statement."""
        self.query(PING)

    def close(self) -> None:
        """Close every idle connection."""
        self._pool.clear()

    def dedicated(self) -> connection:
        """A connection outside the pool and for no request, in autocommit mode; the caller closes it."""
        return self._connect()

    @contextmanager
    def _all_or_nothing(self, link: connection) -> Iterator[None]:
        try:
            yield
            with self._timeout.within(link, _left()):
                link.commit()
        except BaseException:
            # The connection is given up; if that cannot be said to the server, it will find out.
            with suppress(*_LOST), self._timeout.within(link, ROLLBACK_SECONDS):
                link.rollback()
            raise

    def _forget(self, error: Exception) -> None:
        """Where one connection is dead, others are likely to be; one that is late says nothing of them."""
        if not _is_timeout(error):
            self._pool.clear()

    @contextmanager
    def _lend(self, living: bool = False) -> Iterator[tuple[connection, bool]]:
        """A connection and whether it was used before; ``living``: none that is known to have hung up."""
        try:
            with self._pool.lend(_left(), _has_hung_up if living else None) as lent:
                yield _checked(lent)
        except PoolTimeout as error:
            raise Unavailable(f"No database connection came free: {error}.", headers={"Retry-After": "1"}) from error

    def _rows(self, link: connection, statement: str, parameters: Sequence[Any] | dict[str, Any]) -> list[tuple]:
        with (
            self._tracing.child("postgres query", SpanKind.CLIENT, _SYSTEM) as span,
            link.cursor() as statements,
        ):
            if span is not None:
                span.set_attribute("db.query.text", statement)
            statements.execute(statement, parameters)
            return statements.fetchall() if statements.description else []

    def _open(self) -> connection:
        left = _left()
        return self._connect() if left >= CONNECT_SECONDS else _within(left, self._connect)

    def _connect(self) -> connection:
        link = psycopg2.connect(
            self._dsn,
            cursor_factory=self._cursor,
            connect_timeout=CONNECT_SECONDS,
            application_name=self._application,
            options=f"-c statement_timeout={STATEMENT_SECONDS}s",
            keepalives_idle=10,
        )
        link.autocommit = True
        return link


def array(values: Iterable[int]) -> str:
    """``values`` as one array literal: however many they are, PostgreSQL counts one and the same statement.

    >>> array([1, 2, 3])
    '{1,2,3}'
    """
    return f"{{{','.join(map(str, values))}}}"


_SYSTEM = {"db.system.name": "postgresql"}


def _left() -> float:
    """Seconds that the call at hand may take."""
    remaining = context.remaining()
    return STATEMENT_SECONDS if remaining is None else min(STATEMENT_SECONDS, remaining)


def _within(seconds: float, connect: Callable[[], connection]) -> connection:
    """Connect from another thread, which may be left behind: libpq's own timeout has at least two whole seconds."""
    opening: Future[connection] = Future()

    def work() -> None:
        try:
            opening.set_result(connect())
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is to have it
            opening.set_exception(error)

    threading.Thread(target=work, name="connect", daemon=True).start()
    try:
        return opening.result(seconds)
    except FutureTimeout:
        raise _StillConnecting(f"no connection within {seconds:.3f} s", opening) from None


class _StillConnecting(StillOpening, TimedOut):
    """The connect is left to its thread, and its place in the pool stays taken."""


def _has_hung_up(link: connection) -> bool:
    """Whether an idle connection is closed or has said something unasked, which is mostly why it will be."""
    if link.closed:
        return True
    poll = select.poll()
    poll.register(link, select.POLLIN)
    return bool(poll.poll(0))


def _checked(lent: tuple[connection, bool]) -> tuple[connection, bool]:
    link, _ = lent
    if link.info.transaction_status != TRANSACTION_STATUS_IDLE:
        raise psycopg2.InterfaceError("the connection was left inside a transaction")
    return lent


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, psycopg2.errors.QueryCanceled | TimedOut)


def _unavailable(error: Exception) -> Unavailable:
    reason = "did not answer in time" if _is_timeout(error) else "cannot be reached"
    return Unavailable(f"The database {reason}.", headers={"Retry-After": "1"})
