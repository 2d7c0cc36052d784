"""The fulfilments in PostgreSQL: a job's effect and its key in one row, so it happens once however often it is tried.

A write that fails is either the job's own doing (its data is refused) or the database's (it cannot be reached, is
read-only, has no such table yet). Only the first counts against the job.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

import psycopg2

from costlab.service.database import Database
from costlab.service.problem import Unavailable
from services.worker.flush_barrier import FlushBarrier
from services.worker.job import MAX_ID
from services.worker.writes import Row, batch, copy, row

WRITES = {"row": row.write, "batch": batch.write, "copy": copy.write}
_GET = "select order_id, key, units, deliveries, fulfilled_at from fulfilments where order_id = %s"
_OF_THE_JOB = (psycopg2.DataError, psycopg2.IntegrityError)


class DatabaseAway(Exception):
    """The database cannot take the write now; the job is not to blame."""


class JobRefused(Exception):
    """The database refuses what the job would write."""


class Fulfilment(NamedTuple):
    """What was done for an order, at which delivery of its job."""

    order_id: int
    key: str
    units: int
    deliveries: int
    fulfilled_at: datetime


class FulfilmentStore:
    """Reads and writes table fulfilments."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, rows: Sequence[Row], write: str, barrier: FlushBarrier | None = None) -> set[str]:
        """Commit the effects together, written the way ``write`` says; the keys that are new.

        With a ``barrier`` the commit does not wait for the disk: it is durable once the barrier was passed.
        """
        # In one order everywhere: two transactions with the same rows wait for each other instead of deadlocking.
        ordered = sorted(rows)
        with _blame(), self._committed(barrier) as statements:
            return WRITES[write](statements, ordered)

    def barrier(self) -> FlushBarrier:
        """A barrier of the caller's own."""
        return FlushBarrier(self._database.dedicated)

    def get(self, order_id: int) -> Fulfilment | None:
        """The fulfilment of an order."""
        if order_id > MAX_ID:
            return None
        rows = self._database.query(_GET, [order_id])
        return Fulfilment(*rows[0]) if rows else None

    @contextmanager
    def _committed(self, barrier: FlushBarrier | None) -> Iterator[psycopg2.extensions.cursor]:
        if barrier is not None:
            barrier.open()
        with self._database.transaction() as statements:
            if barrier is not None:
                statements.execute("set local synchronous_commit to off")
            yield statements


@contextmanager
def _blame() -> Iterator[None]:
    try:
        yield
    except _OF_THE_JOB as error:
        raise JobRefused(str(error).strip().splitlines()[0]) from error
    except (psycopg2.Error, Unavailable) as error:
        raise DatabaseAway(str(error).strip()) from error
