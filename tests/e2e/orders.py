"""Orders placed while things break, and what has become of each that was accepted."""

import contextlib
import http.client
import threading
import urllib.error
import uuid

import psycopg2

from tests.conditions import eventually

LOST = (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException)


class Shopper:
    """Places orders one after the other, each under its own idempotency key, and notes what was accepted."""

    def __init__(self, client) -> None:
        self._client = client
        self.accepted: dict[str, int] = {}

    def place(self, number: int, patience: float = 60) -> None:
        """Ask until the order is answered 201; a lost connection or a 5xx is asked again under the same key."""
        key = uuid.uuid4().hex
        body = {"user_id": 1 + number % 50, "lines": [{"product_id": 1 + number, "quantity": 1}]}
        eventually(lambda: self._attempt(key, body), within=patience)

    def place_until(self, enough: threading.Event) -> None:
        """Order after order, with the patience it takes until everything there is has started again."""
        number = 0
        while not enough.is_set():
            self.place(number, patience=150)
            number += 1

    def _attempt(self, key: str, body: object) -> bool:
        try:
            reply = self._client.post("/api/orders", body, **{"Idempotency-Key": key})
        except LOST:
            return False
        if reply.status in (200, 201):
            self.accepted[key] = reply.json["id"]
            return True
        assert reply.status >= 500, reply.body
        return False


def newest_order(stack) -> int:
    """The highest id there is."""
    return one(stack, "select max(id) from orders.orders")


def assert_processed_exactly_once(stack, shopper: Shopper, newest: int) -> None:
    """Each order accepted since ``newest`` is stored once and, in the end, processed once; and there are no others.

    Jobs that another test made without an order have numbers far above those of orders.
    """
    placed = list(shopper.accepted.values())
    assert len(set(placed)) == len(placed)
    stored = "select count(*) from orders.orders where id > %s"
    assert one(stack, stored, newest) == len(placed)
    assert one(stack, f"{stored} and id = any(%s)", newest, placed) == len(placed)
    processed = "select count(*) from worker.fulfilments where order_id between %s and %s"
    since = newest + 1, newest_order(stack)
    eventually(lambda: one(stack, processed, *since) >= len(placed), within=60)
    assert one(stack, processed, *since) == len(placed)
    assert one(stack, f"{processed} and order_id = any(%s)", *since, placed) == len(placed)


def one(stack, statement: str, *parameters: object) -> int:
    """The one figure that ``statement`` gives."""
    with contextlib.closing(psycopg2.connect(stack.dsn("postgres"))) as database, database.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()[0]
