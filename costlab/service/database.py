"""PostgreSQL for a service: pooled connections, one statement or one transaction at a time, every statement counted.

    rows = database.query("select id, name from users where id = %s", [7])
    with database.transaction() as cursor:
        cursor.execute(...)

A database that cannot be reached or does not answer in time becomes a 503; nothing waits beyond the request's
deadline. A statement outside a transaction is sent once more when the connection it used turned out to be dead.
"""

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, connection, cursor

from costlab.service import context, metrics
from costlab.service.connection_pool import ConnectionPool, PoolTimeout
from costlab.service.fault_edges import NO_EDGE, Edge
from costlab.service.fault_kinds.effects import Answer, Break
from costlab.service.flags import Flags
from costlab.service.problem import Unavailable
from costlab.service.tracing import SpanKind, Tracing

CONNECT_SECONDS = 3
STATEMENT_SECONDS = 10
_LOST = (psycopg2.OperationalError, psycopg2.InterfaceError)


class CountingCursor(cursor):
    """A cursor that counts each statement sent, and before that passes the faults of ``edge``."""

    edge = NO_EDGE

    def execute(self, query: str, vars: Sequence[Any] | dict[str, Any] | None = None) -> None:
        if self.edge.active:
            self._meet()
        metrics.DB_QUERIES.inc()
        super().execute(query, vars)

    def copy_expert(self, sql: str, file: Any, size: int = 8192) -> None:
        if self.edge.active:
            self._meet()
        metrics.DB_QUERIES.inc()
        super().copy_expert(sql, file, size)

    def _meet(self) -> None:
        """As the server would: a statement that takes too long is cancelled, a refused one has a code."""
        request = context.current()
        remaining = request.remaining() if request is not None else None
        try:
            effect = self.edge.meet(STATEMENT_SECONDS if remaining is None else min(STATEMENT_SECONDS, remaining))
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
        self._cursor = type("FaultyCursor", (CountingCursor,), {"edge": edge})
        self._tracing = tracing
        self._application = application
        self._pool = ConnectionPool(
            "postgres",
            self._open,
            connection.close,
            lambda: 0 if flags["db.pool"] == "none" else flags["db.pool"],
        )

    def query(self, statement: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of one statement, committed at once."""
        for _ in range(2):
            reused = False
            try:
                with self._lend() as (link, reused):
                    return self._rows(link, statement, parameters)
            except _LOST as error:
                self._pool.clear()
                if not reused or _is_timeout(error):
                    raise _unavailable(error) from error
        raise Unavailable("The database dropped the connection twice.", headers={"Retry-After": "1"})

    @contextmanager
    def transaction(self) -> Iterator[cursor]:
        """A cursor whose statements take effect together when the block ends, or not at all."""
        try:
            with (
                self._lend() as (link, _),
                self._tracing.child("postgres transaction", SpanKind.CLIENT, _SYSTEM),
            ):
                link.autocommit = False
                try:
                    with link, link.cursor() as statements:
                        yield statements
                finally:
                    if not link.closed:
                        link.autocommit = True
        except _LOST as error:
            self._pool.clear()
            raise _unavailable(error) from error

    def ping(self) -> None:
        """Raise Unavailable unless the database answers."""
        self.query("select 1")

    def close(self) -> None:
        """Close every idle connection."""
        self._pool.clear()

    def dedicated(self) -> connection:
        """A connection of the caller's own, outside the pool, in autocommit mode; the caller closes it."""
        return self._open()

    @contextmanager
    def _lend(self) -> Iterator[tuple[connection, bool]]:
        request = context.current()
        remaining = request.remaining() if request is not None else None
        try:
            with self._pool.lend(STATEMENT_SECONDS if remaining is None else remaining) as lent:
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


def _checked(lent: tuple[connection, bool]) -> tuple[connection, bool]:
    link, _ = lent
    if link.info.transaction_status != TRANSACTION_STATUS_IDLE:
        raise psycopg2.InterfaceError("the connection was left inside a transaction")
    return lent


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, psycopg2.errors.QueryCanceled)


def _unavailable(error: Exception) -> Unavailable:
    reason = "did not answer in time" if _is_timeout(error) else "cannot be reached"
    return Unavailable(f"The database {reason}.", headers={"Retry-After": "1"})
