"""Keyset paging: the next page is what comes after the last key seen, found through the index.

Example: page 50 of 20 orders is ``where user_id = 1 and id < 81234 order by id desc limit 21``. The index is entered
at that key and 21 rows are read, on page 1 as on page 500.

Trade-off: only the next page can be asked for, not "page 50"; the key must be unique and in the order of the pages.
An order placed between two pages moves nothing: no order comes twice, none is left out.
Use instead: ``offset``, for small tables whose readers jump to a page.

Units: orders. Source: Winand, "Use The Index, Luke" (no-offset).
"""

from services.orders.paging import MAX_ID, Token
from services.orders.rows import Page

_STATEMENT = """
select id, user_id, status, total_cents, created_at::text from orders
where user_id = %s and id < %s order by id desc limit %s"""


def page(user_id: int, limit: int, after: Token | None) -> Page:
    """The orders of a user older than the one ``after`` names."""
    return Page(_STATEMENT, [user_id, MAX_ID if after is None else after.order_id, limit + 1], limit)


def following(last_id: int, limit: int, after: Token | None) -> int:
    """The token for the page after the one that ends with order ``last_id``."""
    return last_id
