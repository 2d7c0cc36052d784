"""Rows of the database as the documents that are answered, and the page of orders a request asks for."""

from dataclasses import dataclass
from typing import Any, Protocol

from costlab.service.database import Database

Order = dict[str, Any]
Line = dict[str, int]


@dataclass(frozen=True, slots=True)
class Page:
    """A statement for at most ``limit`` orders, newest first, and one more row when there is a page after it."""

    statement: str
    parameters: list[int]
    limit: int


class Fetch(Protocol):
    """How the orders of a page are fetched with their lines, and whether more orders follow them."""

    def __call__(self, database: Database, page: Page) -> tuple[list[Order], bool]: ...


def order(row: tuple[Any, ...], lines: list[Line]) -> Order:
    """An order of (id, user_id, status, total_cents, created_at as text)."""
    order_id, user_id, status, total_cents, created_at = row
    return {
        "id": order_id,
        "user_id": user_id,
        "status": status,
        "total_cents": total_cents,
        "created_at": iso(created_at),
        "lines": lines,
    }


def line(product_id: int, quantity: int, price_cents: int) -> Line:
    """A line of an order."""
    return {"product_id": product_id, "quantity": quantity, "price_cents": price_cents}


def iso(written: str) -> str:
    """A time as PostgreSQL writes it in UTC, in RFC 3339.

    >>> iso("2025-01-31 12:00:00.25+00")
    '2025-01-31T12:00:00.250000+00:00'
    """
    fraction = written[19:-3]
    return f"{written[:10]}T{written[11:19]}{fraction and fraction.ljust(7, '0')}+00:00"
