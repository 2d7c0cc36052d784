"""Flags of orders have their effect on the running stack: set one, see the change from outside, reset it, see it go."""

import contextlib
import uuid

import psycopg2
import pytest

from tests.conditions import eventually
from tests.e2e.test_effects import total

pytestmark = pytest.mark.usefixtures("control")

PENDING = "costlab_flag_pending"


def test_orders_queries_decides_how_many_statements_a_history_takes(control, client):
    """ "orders.queries": 21, 1 and 2 statements for the same page of 20."""

    def statements() -> tuple[int, object]:
        before = total(control, "orders", "costlab_db_queries_total")
        page = client.get("/api/users/1/orders?limit=20").json
        return int(total(control, "orders", "costlab_db_queries_total") - before), page

    batch = statements()
    assert batch[0] == 2
    assert len(batch[1]["orders"]) == 20
    for way, expected in (("n_plus_one", 21), ("join", 1), (None, 2)):
        control.set_flags({"orders.queries": way})
        assert statements() == (expected, batch[1])


def test_orders_paging_decides_whether_a_new_order_shifts_the_pages(control, client):
    """ "orders.paging": an order placed between two pages makes offset paging answer one again, keyset not."""

    def repeated() -> int:
        first = client.get("/api/users/31/orders?limit=5").json
        assert client.post("/api/orders", {"user_id": 31, "lines": [{"product_id": 1, "quantity": 1}]}).status == 201
        second = client.get(f"/api/users/31/orders?limit=5&after={first['next']}").json
        return len({order["id"] for order in first["orders"]} & {order["id"] for order in second["orders"]})

    assert repeated() == 0
    control.set_flags({"orders.paging": "offset"})
    assert repeated() == 1
    control.set_flags({"orders.paging": None})
    assert repeated() == 0


def test_orders_index_off_drops_the_index_beside_traffic_and_on_builds_it_again(stack, control, client):
    """ "orders.index": PostgreSQL has it or not; orders says when a change is done and answers all the while."""
    page = client.get("/api/users/5000/orders").json
    for value, expected in (("off", False), (None, True)):
        control.set_flags({"orders.index": value})
        assert client.get("/api/users/5000/orders").json == page
        eventually(lambda: done(control, "orders.index"), within=30)
        assert total(control, "orders", "costlab_orders_index") == expected
        assert index_exists(stack) == expected
        assert client.get("/api/users/5000/orders").json == page


def test_orders_index_stays_as_the_flag_says_over_a_restart(stack, control):
    control.set_flags({"orders.index": "off"})
    eventually(lambda: done(control, "orders.index"), within=30)
    stack.restart("orders")
    eventually(lambda: done(control, "orders.index"), within=30)
    assert not index_exists(stack)
    control.set_flags({"orders.index": None})
    eventually(lambda: done(control, "orders.index"), within=30)
    assert index_exists(stack)


def test_orders_json_decides_which_codec_writes_the_answers(control, client):
    """ "orders.json": each codec counts what it wrote; the documents are the same."""

    def written(codec: str) -> float:
        return total(control, "orders", "costlab_json_written_total", codec=codec)

    paths = ("/api/products/1", "/api/orders/1", "/api/users/1/orders", "/api/orders/stats")
    expected = [client.get(path).json for path in paths]
    for codec in ("stdlib", "msgspec", "orjson"):
        control.set_flags({"orders.json": codec})
        before = written(codec)
        assert [client.get(path).json for path in paths] == expected
        assert written(codec) == before + len(paths)


def test_orders_series_decides_which_layout_computes_the_distribution_of_totals(control, client):
    """ "orders.series": each layout counts what it computed; the figures are the same."""

    def computed(layout: str) -> float:
        return total(control, "orders", "costlab_series_duration_seconds_count", layout=layout)

    expected = client.get("/api/orders/stats/totals").json
    assert expected["orders"] >= 100_000
    for layout in ("array", "numpy", "list"):
        control.set_flags({"orders.series": layout})
        before = computed(layout)
        assert client.get("/api/orders/stats/totals").json == expected
        assert computed(layout) == before + 1


def test_orders_publish_dual_write_goes_round_the_outbox(stack, control, client):
    """ "orders.publish": either way the worker gets the order; only with the outbox there was a row for it."""

    def place() -> int:
        return client.post("/api/orders", {"user_id": 32, "lines": [{"product_id": 1, "quantity": 1}]}).json["id"]

    def handed_over(order: int) -> bool:
        return one(stack, "select count(*) from worker.fulfilments where order_id = %s", order) == 1

    for way, rows in ((None, 1), ("dual_write", 0), (None, 1)):
        control.set_flags({"orders.publish": way})
        written = total(control, "orders", "costlab_dual_writes_total", outcome="published")
        order = place()
        eventually(lambda order=order: handed_over(order), within=20)
        assert one(stack, "select count(*) from orders.outbox where key = %s", f"order:{order}") == rows
        assert total(control, "orders", "costlab_dual_writes_total", outcome="published") == written + (1 - rows)


def test_orders_idempotency_off_places_an_order_for_each_request(control, client):
    """ "orders.idempotency": on, a key sent twice is one order; off, it is two."""

    def placed(key: str) -> list[int]:
        body = {"user_id": 33, "lines": [{"product_id": 1, "quantity": 1}]}
        return [client.post("/api/orders", body, **{"Idempotency-Key": key}).json["id"] for _ in range(2)]

    run = uuid.uuid4().hex
    for number, (value, orders) in enumerate((("on", 1), ("off", 2), (None, 1))):
        control.set_flags({"orders.idempotency": value})
        assert len(set(placed(f"{run}-{number}"))) == orders


@pytest.mark.parametrize("layout", ["dict_per_row", "class", "struct_packed"])
def test_orders_catalogue_decides_how_products_are_held(control, client, layout):
    """ "orders.catalogue": every process says which layout it answers from; the answers are the same."""

    def processes(layout: str) -> float:
        return total(control, "orders", "costlab_catalogue_processes", layout=layout)

    paths = ["/api/products/1", "/api/products/4711", "/api/products/200000"]
    expected = [client.get(path).json for path in paths]
    everywhere = processes("columnar")
    assert everywhere >= 1
    for value, then, gone in ((layout, layout, "columnar"), (None, "columnar", layout)):
        control.set_flags({"orders.catalogue": value})
        assert [client.get(path).json for path in paths] == expected
        eventually(lambda: done(control, "orders.catalogue"), within=60)
        assert (processes(then), processes(gone)) == (everywhere, 0)
        assert [client.get(path).json for path in paths] == expected


def done(control, flag: str) -> bool:
    """Whether every process of orders has carried out the last change of ``flag``."""
    samples = control.metrics("orders")
    return [value for name, labels, value in samples if name == PENDING and labels["flag"] == flag] == [0]


def index_exists(stack) -> bool:
    return one(stack, "select count(*) from pg_index where indexrelid = to_regclass('orders.orders_history')") == 1


def one(stack, statement: str, *parameters: object) -> int:
    with contextlib.closing(psycopg2.connect(stack.dsn("postgres"))) as database, database.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()[0]
