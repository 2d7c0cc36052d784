"""The orders in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from psycopg2.extensions import cursor

from costlab.service import context, metrics
from costlab.service.database import Database, array
from costlab.service.flags import Flags
from services.orders import series
from services.orders.models import MAX_ID
from services.orders.paging import Token, keyset, offset
from services.orders.publishing import Publishing
from services.orders.publishing.message import Message
from services.orders.queries import WAYS, heads
from services.orders.queries.batch import with_lines
from services.orders.rows import Line, Order
from services.orders.rows import order as as_order
from services.orders.sparse import Fields

_ORDER = "select id, user_id, status, total_cents, created_at::text from orders where id = %s"
_PAGING = {"offset": offset, "keyset": keyset}
_TOTALS = "select count(*), coalesce(sum(total_cents), 0)::bigint from orders"
# 8 bytes for each order in one value, so that no row becomes an object on its way.
_SERIES = "select coalesce(string_agg(int8send(total_cents), ''::bytea), ''::bytea) from orders"
_TOP_PRODUCTS = """
select product_id, sum(quantity)::bigint as sold from order_lines
group by product_id order by sold desc, product_id limit 10"""

_KEY = "select fingerprint, order_id from idempotency_keys where key = %s"
# Waits for a transaction that claims the same key, and claims nothing when that commits.
_CLAIM = """
insert into idempotency_keys (key, fingerprint, order_id)
values (%s, %s, nextval('orders_id_seq'))
on conflict (key) do nothing returning order_id"""
_ADD_ORDER = """
insert into orders (id, user_id, total_cents)
values (coalesce(%s, nextval('orders_id_seq')), %s, %s)
returning id, user_id, status, total_cents, created_at::text"""
_ADD_LINES = """
insert into order_lines (order_id, position, product_id, quantity, price_cents)
select %s, * from unnest(%s::smallint[], %s::bigint[], %s::integer[], %s::integer[])"""


@dataclass(frozen=True)
class Claim:
    """An idempotency key and the fingerprint of the body it came with."""

    key: str
    fingerprint: bytes


class OrderStore:
    """Reads and writes the tables of orders."""

    def __init__(self, database: Database, flags: Flags, publishing: Publishing) -> None:
        self._database = database
        self._flags = flags
        self._publishing = publishing
        self._pages = metrics.Children(metrics.ORDER_PAGES)

    def get(self, order_id: int, fields: Fields | None = None) -> Order | None:
        """The order with that id, and its lines; ``fields`` of it."""
        if order_id > MAX_ID:
            return None
        rows = self._database.query(_ORDER, [order_id])
        if not rows:
            return None
        found = with_lines(self._database, rows)[0] if _has_lines(fields) else as_order(rows[0], [])
        return found if fields is None else fields.of(found)

    def history(
        self, user_id: int, limit: int, after: Token | None, fields: Fields | None = None
    ) -> tuple[list[Order], int | str | None]:
        """A page of a user's orders, newest first, ``fields`` of each, and the token to ask for the next one with."""
        if user_id > MAX_ID:
            return [], None
        paging = self._flags["orders.paging"]
        way = _PAGING[paging]
        queries = self._flags["orders.queries"] if _has_lines(fields) else heads.NAME
        orders, more = WAYS[queries](self._database, way.page(user_id, limit, after))
        self._pages[paging, queries].inc()
        following = way.following(orders[-1]["id"], limit, after) if more else None
        return orders if fields is None else [fields.of(order) for order in orders], following

    def statistics(self) -> dict[str, Any]:
        """Totals over all orders and the ten products sold most. It reads every order and line there is."""
        orders, revenue = self._database.query(_TOTALS)[0]
        top = self._database.query(_TOP_PRODUCTS)
        return {
            "orders": orders,
            "revenue_cents": revenue,
            "mean_total_cents": round(revenue / orders, 2) if orders else 0.0,
            "top_products": [{"product_id": product, "quantity": sold} for product, sold in top],
        }

    def totals(self) -> dict[str, Any]:
        """How the totals of all orders are distributed. It reads every order there is."""
        encoded = bytes(self._database.query(_SERIES)[0][0])
        summary = series.summarize(self._flags["orders.series"], encoded)
        return {
            "orders": summary.count,
            "revenue_cents": summary.total,
            "largest_cents": summary.largest,
            "percentiles_cents": dict(zip(map(str, series.PERCENTILES), summary.percentiles, strict=True)),
        }

    def claimed(self, key: str) -> tuple[bytes, int] | None:
        """The fingerprint and the order that ``key`` was used for."""
        rows = self._database.query(_KEY, [key])
        return (bytes(rows[0][0]), rows[0][1]) if rows else None

    def add(self, user_id: int, lines: Sequence[Line], claim: Claim | None) -> Order | None:
        """The new order, written with its lines and its key in one transaction; a message tells the stream of it.

        None, and nothing is written, when another order has the key.
        """
        publication = self._publishing.way()
        with self._database.transaction() as statements:
            order_id = None
            if claim is not None:
                statements.execute(_CLAIM, [claim.key, claim.fingerprint])
                if not statements.rowcount:
                    return None
                order_id = statements.fetchone()[0]
            order = _insert(statements, order_id, user_id, lines)
            message = _message(order)
            publication.within(statements, message)
        publication.afterwards(message)
        return order


def _has_lines(fields: Fields | None) -> bool:
    return fields is None or "lines" in fields.names


def _insert(statements: cursor, order_id: int | None, user_id: int, lines: Sequence[Line]) -> Order:
    total = sum(line["quantity"] * line["price_cents"] for line in lines)
    statements.execute(_ADD_ORDER, [order_id, user_id, total])
    order = as_order(statements.fetchone(), list(lines))
    columns = [array(line[name] for line in lines) for name in ("product_id", "quantity", "price_cents")]
    statements.execute(_ADD_LINES, [order["id"], array(range(1, len(lines) + 1)), *columns])
    return order


def _message(order: Order) -> Message:
    request = context.current()
    traceparent = request.traceparent if request is not None else ""
    return Message(f"order:{order['id']}", orjson.dumps(order).decode(), traceparent)
