"""Offset paging: count off the rows of all pages before, then read the page.

Example: page 50 of 20 orders is ``order by id desc limit 21 offset 980``: PostgreSQL reads 1,001 rows and returns 21.
Page 1 costs what it costs with ``keyset``; the cost grows with the page's number.

Trade-off: any page can be asked for by its number. An order placed between two pages pushes every other one place on,
so the last order of a page comes again as the first of the next; one removed would leave another out.
Use instead: ``keyset``.

Units: orders. Source: Winand, "Use The Index, Luke" (no-offset); PostgreSQL documentation, "LIMIT and OFFSET".
"""

from services.orders.paging import Token, keyset
from services.orders.rows import Page

_STATEMENT = """
select id, user_id, status, total_cents, created_at::text from orders
where user_id = %s order by id desc limit %s offset %s"""


def page(user_id: int, limit: int, after: Token | None) -> Page:
    """The orders of a user from the position of ``after`` on; by its id where a token of keyset paging has none."""
    if after is not None and after.position is None:
        return keyset.page(user_id, limit, after)
    return Page(_STATEMENT, [user_id, limit + 1, 0 if after is None else after.position], limit)


def following(last_id: int, limit: int, after: Token | None) -> int | str:
    """The token for the page after the one of ``limit`` orders that ends with order ``last_id``."""
    if after is not None and after.position is None:
        return keyset.following(last_id, limit, after)
    return f"{last_id}.{(0 if after is None else after.position) + limit}"
