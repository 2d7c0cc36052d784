"""Join: orders and their lines in one statement, one row for each line, the columns of its order repeated.

Example: a page of 20 orders of 3 lines is 1 statement and 63 rows (one order is read only to know whether a page
follows); each row carries the five columns of its order again.

Trade-off: one round trip, but repeated columns: with 50 lines an order is sent 50 times. Two such lists on one parent
would multiply each other's rows.
Use instead: ``batch``, when orders are wide or have many lines.

Units: statements and rows. Source: Fowler, "Patterns of Enterprise Application Architecture" (2002), Lazy Load.
"""

from costlab.service.database import Database
from services.orders.rows import Order, Page, line, order

# An order without lines keeps its row, with nulls for the line.
_PAGE_AND_LINES = """
select page.*, line.product_id, line.quantity, line.price_cents
from ({page}) as page left join order_lines as line on line.order_id = page.id
order by page.id desc, line.position"""


def orders(database: Database, page: Page) -> tuple[list[Order], bool]:
    """The orders of ``page`` with their lines, and whether more orders follow."""
    found: dict[int, Order] = {}
    for *columns, product_id, quantity, price_cents in database.query(
        _PAGE_AND_LINES.format(page=page.statement), page.parameters
    ):
        of = found.setdefault(columns[0], order(tuple(columns), []))
        if product_id is not None:
            of["lines"].append(line(product_id, quantity, price_cents))
    return list(found.values())[: page.limit], len(found) > page.limit
