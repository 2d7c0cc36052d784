"""How the effects of a batch of jobs get into PostgreSQL, one way per file (flag ``worker.write``).

Each has ``write(statements, rows) -> set of the keys that were new``. A key that is there already is left alone.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """One fulfilment to write."""

    key: str
    order_id: int
    units: int
    deliveries: int


COLUMNS = ", ".join(Row._fields)
