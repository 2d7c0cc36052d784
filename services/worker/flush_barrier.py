"""A flush barrier: many commits that do not wait for the disk, then one that does, and only then are jobs acknowledged.

    commit, commit, commit ...    (synchronous_commit off: each returns at once)
                           └────► barrier (a commit that waits for the disk) ────► acknowledge them all

With ``synchronous_commit`` off PostgreSQL answers a commit before it is on disk. A crash of PostgreSQL or a power
failure then forgets commits of up to the last 3 x wal_writer_delay = 0.6 s, although they were confirmed. A job that
was acknowledged at once would be gone: Redis has forgotten it, and its effect never happened. So the worker
acknowledges only behind a barrier. PostgreSQL's log is written in order: once the barrier's own record is on disk, so
is everything committed before it. A crash in between ends the barrier's connection, which was open since before those
commits; they are written again then, and the key makes each effect happen once.

Each consumer has a barrier of its own and passes it between two batches, once 200 ms are over since the first commit
behind it.

Example: one consumer that makes 400 batches a second of one job each waits for the disk 400 times a second with ``on``
and at most 5 times with ``off``; eight consumers that make 50 each wait 400 times and 40 times.
Trade-off: exactly once holds with both. ``off`` costs a connection per consumer, and 200 ms and the rest of a batch
until an entry leaves the stream; whoever reads an effect in that time may have read what a crash takes back.
Use instead: ``worker.batch``, which shares one wait among the jobs of a transaction and has nothing to forget.
Units: seconds. Source: PostgreSQL documentation, "Asynchronous Commit"; DeWitt et al. (1984), group commit.
"""

from collections.abc import Callable

import psycopg2
from psycopg2.extensions import connection

# A record of no meaning: a transaction that writes nothing would not wait for the disk.
_BARRIER = "select pg_logical_emit_message(true, 'worker', '')"


class Broken(Exception):
    """The connection is gone, and with it perhaps what was committed since it was opened."""


class FlushBarrier:
    """``open`` before the first commit that does not wait; ``wait`` returns when all such commits are on disk."""

    def __init__(self, connect: Callable[[], connection]) -> None:
        self._connect = connect
        self._link: connection | None = None

    def open(self) -> None:
        """Make sure that there is a connection; psycopg2.Error when the database is away."""
        if self._link is None:
            self._link = self._connect()

    def wait(self) -> None:
        """Wait for the disk. Broken: nothing is known about any commit since ``open``."""
        try:
            if self._link is None:
                raise Broken("there is no connection")
            with self._link.cursor() as statements:
                statements.execute(_BARRIER)
        except psycopg2.Error as error:
            self.close()
            raise Broken(str(error).strip()) from error

    def close(self) -> None:
        """Give the connection up."""
        if self._link is not None:
            self._link.close()
            self._link = None
