"""What became of the orders of a block: placed, and fulfilled by the worker or lost.

Read from the services' own tables, as PostgreSQL's administrator: an order counts as lost when the worker has no
fulfilment of it although nothing has been fulfilled for a while. A block that places none costs one look at an index.
"""

import time
from typing import NamedTuple

import psycopg2

from costlab.lab.errors import LabError
from costlab.lab.probes.link import Link, line

# Longer than the worker waits before it takes over the jobs of a consumer that died.
PATIENCE_SECONDS = 8.0
_TICK_SECONDS = 0.25
_LAST = "select coalesce(max(id), 0) from orders.orders"
_SINCE = """
select count(*), count(f.order_id) from orders.orders o left join worker.fulfilments f on f.order_id = o.id
where o.id > %s"""


class Counted(NamedTuple):
    """Orders written since a reading, and those of them that were never fulfilled."""

    placed: int
    lost: int


class OrdersProbe:
    """Follows the orders over one connection."""

    def __init__(self, dsn: str) -> None:
        self._link = Link(dsn, "postgres")

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def last(self) -> int:
        """The id of the newest order there is."""
        return self._row(_LAST)[0]

    def since(self, last: int) -> Counted:
        """What became of the orders after ``last``, once the worker is through with them."""
        placed, fulfilled = self._row(_SINCE, last)
        progressed = time.monotonic()
        while fulfilled < placed and time.monotonic() - progressed < PATIENCE_SECONDS:
            time.sleep(_TICK_SECONDS)
            before = fulfilled
            placed, fulfilled = self._row(_SINCE, last)
            if fulfilled > before:
                progressed = time.monotonic()
        return Counted(placed, placed - fulfilled)

    def _row(self, query: str, *values: int) -> tuple:
        try:
            return self._link.rows(query, *values)[0]
        except psycopg2.Error as error:
            raise LabError(f"the orders cannot be counted: {line(error)}") from error
