"""Nothing accepted is lost: an order answered 201 is stored exactly once and processed exactly once, whatever dies."""

import signal
import threading

import pytest

from tests.e2e.orders import Shopper, assert_processed_exactly_once, newest_order

ORDERS = 200


@pytest.mark.timeout(240)
@pytest.mark.parametrize("victim", ["orders", "worker", "redis"])
def test_every_accepted_order_survives_kill_9(stack, client, victim):
    """Kill -9 in the middle of 200 orders: each accepted order is in the database once and processed once."""
    newest = newest_order(stack)
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
    assert len(shopper.accepted) == ORDERS
    assert_processed_exactly_once(stack, shopper, newest)
