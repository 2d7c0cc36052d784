"""COPY: the rows stream into a temporary table, from which one INSERT takes those that are not there yet.

Example: a batch of 500 jobs is three short statements; the rows themselves are never parsed as SQL.
Trade-off: COPY knows no ON CONFLICT, hence the detour over a table: three round trips, whatever the batch, so below a
few dozen rows a multi-row INSERT is quicker. The table belongs to the connection and is emptied by every commit; it is
not logged, so the detour writes nothing to disk. The role needs the right to make temporary tables.
Use instead: ``batch`` for small batches; COPY straight into the table where no row can be there twice.
Units: rows. Source: PostgreSQL documentation, COPY and "Populating a Database".
"""

from collections.abc import Sequence

from psycopg2.extensions import cursor

from costlab.service import bulk_load
from services.worker.writes import COLUMNS, Row

_STAGE = """
create temporary table if not exists incoming (key text, order_id bigint, units integer, deliveries integer)
on commit delete rows"""
_INSERT = f"""
insert into fulfilments ({COLUMNS}) select {COLUMNS} from incoming
on conflict (key) do nothing returning key"""  # noqa: S608 - names of ours


def write(statements: cursor, rows: Sequence[Row]) -> set[str]:
    """The keys of ``rows`` that were not there."""
    statements.execute(_STAGE)
    bulk_load.copy(statements, "incoming", Row._fields, rows)
    statements.execute(_INSERT)
    return {key for (key,) in statements.fetchall()}
