"""Batch: one statement for the orders of a page, one for the lines of all of them.

Example: a page of 20 orders is 2 statements, where one per order would be 21; a page of 100 is 2 as well.

Trade-off: the second statement waits for the first, and the rows are put together in the process. No column is sent
twice. However many ids it has, the list is one array parameter, so PostgreSQL counts and plans one statement.
Use instead: ``join``, when a round trip costs more than repeated columns.

Units: statements. Source: graphql/dataloader (batching); Fowler, PoEAA (2002), Lazy Load.
"""

from collections.abc import Sequence
from typing import Any

from costlab.service.database import Database, array
from services.orders.rows import Order, Page, line, order

_LINES = """
select order_id, product_id, quantity, price_cents from order_lines
where order_id = any(%s::bigint[]) order by order_id, position"""


def orders(database: Database, page: Page) -> tuple[list[Order], bool]:
    """The orders of ``page`` with their lines, and whether more orders follow."""
    rows = database.query(page.statement, page.parameters)
    return with_lines(database, rows[: page.limit]), len(rows) > page.limit


def with_lines(database: Database, rows: Sequence[tuple[Any, ...]]) -> list[Order]:
    """The orders of ``rows`` with their lines; no statement for no rows."""
    found = {row[0]: order(row, []) for row in rows}
    if found:
        for order_id, *columns in database.query(_LINES, [array(found)]):
            found[order_id]["lines"].append(line(*columns))
    return list(found.values())
