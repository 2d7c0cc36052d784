"""Reserving stock: no reservation is lost or made twice, however many come at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab.service.database import Database
from costlab.service.problem import Conflict
from costlab.service.tracing import Tracing
from services.orders.optimistic_update import Contended, optimistic_update
from services.orders.stock import MAX_STOCK, StockRoom

PRODUCT = 77


@pytest.fixture
def open_room(database, set_flags):
    """``open_room("full_jitter")``: the stock room alone, with that contention, and 1,000 of PRODUCT in it."""
    opened = []
    database.rows("update orders.products set stock = 1000, version = 0 where id = %s", PRODUCT)

    def open_(kind):
        flags = set_flags(**{"orders.contention": kind})
        opened.append(Database(database.url("orders"), flags, Tracing("orders", flags, None), "tests"))
        return StockRoom(opened[-1], flags)

    yield open_
    for kit in opened:
        kit.close()


def stock_of(database):
    return database.rows("select stock, version from orders.products where id = %s", PRODUCT)[0]


@given(st.lists(st.booleans(), max_size=20), st.integers(0, 20))
def test_what_is_written_was_computed_from_what_was_there(overtaken, patience):
    """Another writer adds 10 before some of our writes: ours adds 1 to exactly what it found, or gives up."""
    row, script, left = [0], list(overtaken), [patience]

    def write(seen):
        if script and script.pop(0):
            row[0] += 10
        if row[0] != seen:
            return None
        row[0] = seen + 1
        return row[0]

    def again():
        left[0] -= 1
        return left[0] >= 0

    before_us = 10 * (next((at for at, other in enumerate(overtaken) if not other), len(overtaken)))
    if before_us // 10 > patience:
        with pytest.raises(Contended):
            optimistic_update(lambda: row[0], write, again)
    else:
        assert optimistic_update(lambda: row[0], write, again) == before_us + 1


@pytest.mark.parametrize("kind", ["immediate", "exponential", "equal_jitter", "full_jitter", "decorrelated_jitter"])
def test_reservations_at_once_all_succeed_and_each_counts_once(open_room, database, kind):
    room = open_room(kind)
    with ThreadPoolExecutor(8) as pool:
        attempts = [stock.attempts for stock in pool.map(lambda _: room.reserve(PRODUCT, 3), range(24))]
    assert stock_of(database) == (1000 - 24 * 3, 24)
    assert all(attempt >= 1 for attempt in attempts)


def test_without_backoff_a_reservation_that_meets_another_is_refused_and_changes_nothing(open_room, database):
    room = open_room("off")
    made = 0

    def reserve(_):
        try:
            return room.reserve(PRODUCT, 1).attempts
        except Conflict:
            return 0

    with ThreadPoolExecutor(8) as pool:
        made = sum(pool.map(reserve, range(40)))
    assert stock_of(database) == (1000 - made, made)


def test_there_is_never_less_than_nothing_nor_more_than_the_room_holds(open_room, database):
    room = open_room("full_jitter")
    with pytest.raises(Conflict, match="There are 1000 of product 77"):
        room.reserve(PRODUCT, 1001)
    with pytest.raises(Conflict, match="There are 1000 of product 77"):
        room.reserve(PRODUCT, 1000 - MAX_STOCK - 1)
    assert stock_of(database) == (1000, 0)


def test_a_reservation_answers_what_is_left(client):
    before = client.post("/stock/78/reserve", json={"quantity": 0}).json
    reply = client.post("/stock/78/reserve", json={"quantity": -5})
    assert reply.status_code == 200
    assert reply.json == {
        "product_id": 78,
        "stock": before["stock"] + 5,
        "version": before["version"] + 1,
        "attempts": 1,
    }


@pytest.mark.parametrize(
    ("product", "body", "headers", "status"),
    [
        (200_001, {"quantity": 1}, {}, 404),
        (10**30, {"quantity": 1}, {}, 404),
        (78, {"quantity": 1001}, {}, 422),
        (78, {"quantity": "1"}, {}, 422),
        (78, {}, {}, 422),
        (78, {"quantity": 1}, {"Idempotency-Key": "k"}, 422),
    ],
)
def test_what_cannot_be_reserved_is_refused_with_a_reason(client, product, body, headers, status):
    reply = client.post(f"/stock/{product}/reserve", json=body, headers=headers)
    assert reply.status_code == status
    assert reply.json["detail"]
