"""Multi-row INSERT: all rows of a batch in one statement.

Example: a batch of 100 jobs is one statement and one round trip instead of 100.
Trade-off: one row that is refused refuses them all (the batch is then done again one by one), and the database parses
a text that grows with the batch. The rows travel as one array per column, so that however many there are, PostgreSQL
counts one and the same statement.
Use instead: ``copy`` for thousands of rows, ``row`` for a few.
Units: rows. Source: PostgreSQL documentation, "Populating a Database"; unnest in "Array Functions".
"""

from collections.abc import Sequence

from psycopg2.extensions import cursor

from services.worker.writes import COLUMNS, Row

_INSERT = f"""
insert into fulfilments ({COLUMNS})
select * from unnest(%s::text[], %s::bigint[], %s::integer[], %s::integer[])
on conflict (key) do nothing returning key"""  # noqa: S608 - names of ours


def write(statements: cursor, rows: Sequence[Row]) -> set[str]:
    """The keys of ``rows`` that were not there."""
    statements.execute(_INSERT, [list(column) for column in zip(*rows, strict=True)])
    return {key for (key,) in statements.fetchall()}
