"""orders: products, placing, orders, history, statistics; every refusal says why."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from costlab.service.invalidation import CHANNEL
from services.orders.models import History, Order, Product, Statistics
from services.orders.publishing.message import STREAM
from tests.conditions import eventually
from tests.services.conftest import counted

BODY = {"user_id": 1, "lines": [{"product_id": 5, "quantity": 2}, {"product_id": 200_000, "quantity": 1}]}


def place(client, body=BODY, **headers):
    return client.post("/orders", json=body, headers=headers)


def assert_problem(reply, status, text):
    assert reply.status_code == status, reply.data
    assert reply.content_type == "application/problem+json"
    assert text in reply.json["detail"]


# Products


def test_a_product_is_answered_from_memory_as_the_database_has_it(client, database):
    row = database.one("select to_jsonb(product) - 'version' from orders.products as product where id = 4711")
    with counted() as queries:
        reply = client.get("/products/4711")
    assert Product.model_validate(reply.json).model_dump() == row
    assert queries() == 0


@pytest.mark.parametrize("product_id", [0, 200_001, 2**63, 10**40])
def test_a_product_nobody_sells_is_404_however_large_its_id(client, product_id):
    assert_problem(client.get(f"/products/{product_id}"), 404, f"no product {product_id}")


# Placing


def test_a_placed_order_is_priced_from_the_catalogue_and_found_where_the_location_says(client):
    prices = [client.get(f"/products/{line['product_id']}").json["price_cents"] for line in BODY["lines"]]
    reply = place(client)
    assert reply.status_code == 201
    order = Order.model_validate(reply.json)
    assert [line.price_cents for line in order.lines] == prices
    assert order.total_cents == 2 * prices[0] + prices[1]
    assert abs(order.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert client.get(reply.headers["Location"]).json == reply.json


def test_the_same_product_may_stand_in_two_lines(client):
    lines = [{"product_id": 5, "quantity": 1}, {"product_id": 5, "quantity": 3}]
    reply = place(client, {"user_id": 1, "lines": lines})
    assert [line["quantity"] for line in client.get(reply.headers["Location"]).json["lines"]] == [1, 3]


def test_an_order_of_fifty_lines_is_four_statements(client):
    """Order, lines, message: three, however many lines; and one of users, in the same process here."""
    with counted() as queries:
        reply = place(client, {"user_id": 1, "lines": BODY["lines"] * 25})
    assert len(reply.json["lines"]) == 50
    assert queries() == 4


def test_a_user_who_does_not_exist_is_422(client):
    assert_problem(place(client, BODY | {"user_id": 10**9}), 422, "user_id: there is no user 1000000000")


def test_a_product_that_does_not_exist_is_422_and_named(client):
    reply = place(client, {"user_id": 1, "lines": [*BODY["lines"], {"product_id": 200_001, "quantity": 1}]})
    assert_problem(reply, 422, "there is no product 200001")
    assert reply.json["errors"] == [{"field": "lines.2.product_id", "message": "there is no product 200001"}]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "user_id"),
        ({"user_id": 1}, "lines"),
        (BODY | {"user_id": "1"}, "user_id"),
        (BODY | {"user_id": True}, "user_id"),
        (BODY | {"user_id": 1.0}, "user_id"),
        (BODY | {"user_id": 0}, "user_id"),
        (BODY | {"user_id": 2**63}, "user_id"),
        (BODY | {"lines": []}, "lines"),
        (BODY | {"lines": {}}, "lines"),
        (BODY | {"lines": [{"product_id": 1, "quantity": 1}] * 51}, "lines"),
        (BODY | {"lines": [{"product_id": 1, "quantity": 0}]}, "lines.0.quantity"),
        (BODY | {"lines": [{"product_id": 1, "quantity": 1001}]}, "lines.0.quantity"),
        (BODY | {"lines": [{"product_id": 1}]}, "lines.0.quantity"),
        (BODY | {"lines": [{"product_id": 1, "quantity": 1, "price_cents": 1}]}, "lines.0.price_cents"),
        (BODY | {"coupon": "x"}, "coupon"),
    ],
)
def test_a_field_that_is_not_allowed_is_422_and_named(client, body, field):
    reply = place(client, body)
    assert_problem(reply, 422, f"body: {field}: ")
    assert reply.json["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("request_arguments", "status"),
    [
        ({"data": "{", "content_type": "application/json"}, 400),
        ({"data": '{"user_id": 1}', "content_type": "text/plain"}, 415),
        ({"data": b"x" * 2**21, "content_type": "application/json"}, 413),
        ({"json": BODY, "query_string": "dry=1"}, 422),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(client, request_arguments, status):
    assert_problem(client.post("/orders", **request_arguments), status, "")


@pytest.mark.parametrize(("method", "path"), [("put", "/orders"), ("delete", "/orders/1"), ("post", "/products/1")])
def test_a_method_that_is_not_there_is_405(client, method, path):
    assert_problem(getattr(client, method)(path), 405, "")


def test_the_flag_sends_the_user_check_through_the_cache_proxy(client, set_flag, cache_proxy):
    stand_in, _ = cache_proxy
    place(client)
    assert stand_in.asked == []
    set_flag("orders.user_lookup", "cache_proxy")
    assert place(client).status_code == 201
    assert stand_in.asked == ["/users/1"]


def test_a_placed_order_is_announced_to_the_cache(client, redis_url):
    with Redis.from_url(redis_url) as redis, redis.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(CHANNEL)
        assert listener.get_message(timeout=5) is None  # the confirmation, which is swallowed
        order_id = place(client).json["id"]
        message = listener.get_message(timeout=5)
    assert json.loads(message["data"]) == [
        f"/orders/{order_id}",
        "/users/1/orders",
        "/orders/stats",
        "/orders/stats/totals",
    ]


def test_a_placed_order_reaches_the_stream_with_its_trace(client, redis_url):
    trace = "0af7651916cd43dd8448eb211c80319c"
    order = place(client, traceparent=f"00-{trace}-b7ad6b7169203331-00").json
    with Redis.from_url(redis_url, decode_responses=True) as redis:

        def messages():
            return [fields for _, fields in redis.xrange(STREAM) if fields["key"] == f"order:{order['id']}"]

        eventually(lambda: len(messages()) == 1)
        message = messages()[0]
    assert json.loads(message["payload"]) == order
    assert message["traceparent"].split("-")[1] == trace


# Orders, history, statistics


@pytest.mark.parametrize("order_id", [0, 10**12, 2**63, 10**30])
def test_an_order_nobody_placed_is_404_however_large_its_id(client, order_id):
    assert_problem(client.get(f"/orders/{order_id}"), 404, f"no order {order_id}")


def test_an_order_is_answered_with_its_lines_in_the_order_they_were_given(client, database):
    rows = database.rows(
        "select product_id, quantity, price_cents from orders.order_lines where order_id = 9 order by position"
    )
    order = Order.model_validate(client.get("/orders/9").json)
    assert [(line.product_id, line.quantity, line.price_cents) for line in order.lines] == rows


def test_a_page_of_history_is_two_queries(client):
    with counted() as queries:
        history = History.model_validate(client.get("/users/2/orders?limit=100").json)
    assert len(history.orders) == 100
    assert all(order.lines for order in history.orders)
    assert queries() == 2


def test_a_new_order_is_the_first_of_the_history(client):
    order = place(client).json
    assert client.get("/users/1/orders").json["orders"][0] == order


@pytest.mark.parametrize("user_id", [10**9, 2**63, 10**30])
def test_a_user_without_orders_has_an_empty_history(client, user_id):
    assert client.get(f"/users/{user_id}/orders").json == {"orders": [], "next": None}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "after=0", f"after={2**63}", "after=", "page=2", "limit=1&limit=2"]
)
def test_a_page_that_cannot_be_is_422(client, query):
    assert_problem(client.get(f"/users/1/orders?{query}"), 422, "query: ")


def test_statistics_are_those_of_all_orders(client, database):
    reply = client.get("/orders/stats")
    statistics = Statistics.model_validate(reply.json)
    count, revenue = database.rows("select count(*), sum(total_cents) from orders.orders")[0]
    assert (statistics.orders, statistics.revenue_cents) == (count, revenue)
    assert statistics.mean_total_cents == pytest.approx(int(revenue) / count, abs=0.01)
    assert [product.product_id for product in statistics.top_products[:3]] == [1, 2, 3]
    assert len(statistics.top_products) == 10


def test_every_operation_is_described(client):
    expected = {
        "/orders": ["post"],
        "/orders/stats": ["get"],
        "/orders/stats/totals": ["get"],
        "/orders/{order_id}": ["get"],
        "/products/{product_id}": ["get"],
        "/users/{user_id}/orders": ["get"],
    }
    paths = client.get("/openapi.json").json["paths"]
    assert {path: sorted(paths[path]) for path in expected} == expected
