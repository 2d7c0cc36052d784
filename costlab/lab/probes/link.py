"""A connection to PostgreSQL that is opened again when the server was killed or restarted: days with faults do that."""

import time
from typing import Any

import psycopg2

from costlab.lab.errors import LabError

BACK_SECONDS = 30.0
_TICK_SECONDS = 0.25


class Link:
    """Autocommitting; one at a time."""

    def __init__(self, dsn: str, role: str) -> None:
        self._dsn = dsn
        self._role = role
        self._connection = self._connected()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What ``query`` returns; once more on a new connection if this one is lost."""
        try:
            return self._rows(query, values)
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            self._connection.close()
            self._connection = self._connected_again()
        try:
            return self._rows(query, values)
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            raise LabError(f"PostgreSQL was lost while it was measured: {line(error)}") from error

    def _rows(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as statements:
            statements.execute(query, values)
            return statements.fetchall()

    def _connected(self) -> Any:
        try:
            connection = psycopg2.connect(self._dsn, connect_timeout=3, application_name="costlab-lab")
        except psycopg2.OperationalError as error:
            raise LabError(f"PostgreSQL cannot be reached as role {self._role}: {line(error)}") from error
        connection.autocommit = True
        return connection

    def _connected_again(self) -> Any:
        deadline = time.monotonic() + BACK_SECONDS
        while True:
            try:
                return self._connected()
            except LabError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_TICK_SECONDS)


def line(error: Exception) -> str:
    """The first line of what PostgreSQL said."""
    return str(error).strip().splitlines()[0]
