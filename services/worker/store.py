"""The fulfilments in PostgreSQL: a job's effect and its key in one row, so it happens once however often it is tried.

A write that fails is either the job's own doing (its data is refused) or the database's (it cannot be reached, is
read-only, has no such table yet). Only the first counts against the job.
"""

from datetime import datetime
from typing import NamedTuple

import psycopg2

from costlab.service.database import Database
from costlab.service.problem import Unavailable
from services.worker.job import MAX_ID, Job

_ADD = """
insert into fulfilments (key, order_id, units, deliveries) values (%s, %s, %s, %s)
on conflict (key) do nothing"""
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

    def add(self, job: Job, deliveries: int) -> bool:
        """Commit the job's effect; False when it was there already."""
        try:
            with self._database.transaction() as statements:
                statements.execute(_ADD, [job.key, job.order.id, job.units(), deliveries])
                return statements.rowcount == 1
        except _OF_THE_JOB as error:
            raise JobRefused(str(error).strip().splitlines()[0]) from error
        except (psycopg2.Error, Unavailable) as error:
            raise DatabaseAway(str(error).strip()) from error

    def get(self, order_id: int) -> Fulfilment | None:
        """The fulfilment of an order."""
        if order_id > MAX_ID:
            return None
        rows = self._database.query(_GET, [order_id])
        return Fulfilment(*rows[0]) if rows else None
