"""Row by row: one INSERT per job, inside the transaction of its batch.

Example: a batch of 100 jobs is 100 statements and 100 round trips, but one commit and one wait for the disk; with
``worker.batch`` at 1 it is 100 of each.
Trade-off: nothing to explain and each statement says for itself whether its row was new; the round trips dominate as
soon as the commits are shared.
Use instead: ``batch`` from a handful of rows on.
Units: rows. Source: PostgreSQL documentation, INSERT (ON CONFLICT).
"""

from collections.abc import Sequence

from psycopg2.extensions import cursor

from services.worker.writes import COLUMNS, Row

_INSERT = f"insert into fulfilments ({COLUMNS}) values (%s, %s, %s, %s) on conflict (key) do nothing"  # noqa: S608 - names of ours


def write(statements: cursor, rows: Sequence[Row]) -> set[str]:
    """The keys of ``rows`` that were not there."""
    new = set()
    for row in rows:
        statements.execute(_INSERT, row)
        if statements.rowcount:
            new.add(row.key)
    return new
