"""Heads: the orders of a page without their lines, when a sparse answer (sparse.py) has no lines in it.

Example: a page of 20 orders is 1 statement and 21 rows (one is read only to know whether a page follows), whatever
``orders.queries`` says.

Trade-off: none, where nobody reads the lines. Use instead: ``batch`` where they are read.

Units: statements. Source: Fowler, "Patterns of Enterprise Application Architecture" (2002), Lazy Load.
"""

from costlab.service.database import Database
from services.orders.rows import Order, Page, order

NAME = "heads"


def orders(database: Database, page: Page) -> tuple[list[Order], bool]:
    """The orders of ``page``, each with an empty list of lines, and whether more orders follow."""
    rows = database.query(page.statement, page.parameters)
    return [order(row, []) for row in rows[: page.limit]], len(rows) > page.limit
