"""Nothing accepted is lost: an order answered 201 is stored exactly once and processed exactly once, whatever dies."""

import contextlib
import signal
import threading
import urllib.error
import uuid

import psycopg2
import pytest

from tests.conditions import eventually

ORDERS = 200


class Shopper:
    """Places orders one after the other, each under its own idempotency key, and notes what was accepted."""

    def __init__(self, client) -> None:
        self._client = client
        self.accepted: dict[str, int] = {}

    def place(self, number: int) -> None:
        """Ask until the order is answered 201; a lost connection or a 5xx is asked again under the same key."""
        key = uuid.uuid4().hex
        body = {"user_id": 1 + number % 50, "lines": [{"product_id": 1 + number, "quantity": 1}]}
        eventually(lambda: self._attempt(key, body), within=60)

    def _attempt(self, key: str, body: object) -> bool:
        try:
            reply = self._client.post("/api/orders", body, **{"Idempotency-Key": key})
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        if reply.status in (200, 201):
            self.accepted[key] = reply.json["id"]
            return True
        assert reply.status >= 500, reply.body
        return False


@pytest.mark.timeout(240)
@pytest.mark.parametrize("victim", ["orders", "worker", "redis"])
def test_every_accepted_order_survives_kill_9(stack, client, victim):
    """Kill -9 in the middle of 200 orders: each accepted order is in the database once and processed once."""
    newest = _one(stack, "select max(id) from orders.orders")
    shopper = Shopper(client)
    half_way = threading.Event()

    def shop() -> None:
        for number in range(ORDERS):
            if number == ORDERS // 4:
                half_way.set()
            shopper.place(number)

    shopping = threading.Thread(target=shop)
    shopping.start()
    assert half_way.wait(60)
    stack.kill(victim, signal.SIGKILL)
    shopping.join(200)
    assert not shopping.is_alive()

    placed = list(shopper.accepted.values())
    assert len(set(placed)) == len(placed) == ORDERS
    stored = "select count(*) from orders.orders where id > %s"
    assert _one(stack, stored, newest) == ORDERS
    assert _one(stack, f"{stored} and id = any(%s)", newest, placed) == ORDERS
    processed = "select count(*) from worker.fulfilments where order_id > %s"
    eventually(lambda: _one(stack, processed, newest) >= ORDERS, within=60)
    assert _one(stack, processed, newest) == ORDERS
    assert _one(stack, f"{processed} and order_id = any(%s)", newest, placed) == ORDERS


def _one(stack, statement: str, *parameters: object) -> int:
    with contextlib.closing(psycopg2.connect(stack.dsn("postgres"))) as database, database.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()[0]
