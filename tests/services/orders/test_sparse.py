"""Sparse fieldsets: a sparse answer is the whole one restricted to the fields that were named, and costs no more."""

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from services.orders import sparse
from services.orders.models import Order, Product
from tests.services.conftest import counted

ORDER = list(sparse.names(Order))
PRODUCT = list(sparse.names(Product))
examples = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def some(names):
    return st.lists(st.sampled_from(names), min_size=1, max_size=6)


def restricted(document, asked):
    """The rule, written the slow way: a field is there when it, what it is in, or something in it was asked for."""
    kept = {}
    for name, value in document.items():
        inner = [field.partition(".")[2] for field in asked if field.startswith(f"{name}.")]
        if name in asked:
            kept[name] = value
        elif inner:
            kept[name] = [{key: line[key] for key in line if key in inner} for line in value]
    return kept


def same(first, second):
    """Equal, the order of members included."""
    return orjson.dumps(first) == orjson.dumps(second)


def assert_refused(reply, text):
    assert reply.status_code == 422, reply.data
    assert reply.content_type == "application/problem+json"
    assert text in reply.json["detail"]


def test_the_names_are_those_of_the_answer_and_of_what_is_in_its_lists():
    own = ["id", "user_id", "status", "total_cents", "created_at", "lines"]
    assert [*own, "lines.product_id", "lines.quantity", "lines.price_cents"] == ORDER


@examples
@given(asked=some(ORDER), order_id=st.integers(1, 100_000))
def test_a_sparse_order_is_the_whole_one_restricted_to_the_fields(client, asked, order_id):
    whole = client.get(f"/orders/{order_id}").json
    sparse = client.get(f"/orders/{order_id}?fields={','.join(asked)}")
    assert same(sparse.json, restricted(whole, asked))


@examples
@given(asked=some(PRODUCT), product_id=st.integers(1, 200_000))
def test_a_sparse_product_is_the_whole_one_restricted_to_the_fields(client, asked, product_id):
    whole = client.get(f"/products/{product_id}").json
    assert same(client.get(f"/products/{product_id}?fields={','.join(asked)}").json, restricted(whole, asked))


@settings(examples, max_examples=25)
@given(
    asked=some(ORDER),
    user_id=st.integers(1, 2_000),
    limit=st.integers(1, 10),
    queries=st.sampled_from(["n_plus_one", "join", "batch"]),
    paging=st.sampled_from(["offset", "keyset"]),
)
def test_a_sparse_history_has_the_same_orders_and_the_same_next_page(
    make_store, asked, user_id, limit, queries, paging
):
    store = make_store(**{"orders.queries": queries, "orders.paging": paging})
    orders, following = store.history(user_id, limit, None)
    assert store.history(user_id, limit, None, sparse.parse(",".join(asked), Order)) == (
        [restricted(order, asked) for order in orders],
        following,
    )


@pytest.mark.parametrize(
    ("path", "statements"),
    [
        ("/orders/9", 2),
        ("/orders/9?fields=id,status,total_cents", 1),
        ("/orders/9?fields=lines.quantity", 2),
        ("/users/1/orders?fields=id", 1),
        ("/users/1/orders?fields=id,lines", 2),
        ("/products/9?fields=name", 0),
    ],
)
def test_lines_that_nobody_asks_for_are_not_read(client, path, statements):
    with counted() as queries:
        assert client.get(path).status_code == 200
    assert queries() == statements


def test_without_lines_n_plus_one_queries_are_one(client, set_flag):
    set_flag("orders.queries", "n_plus_one")
    with counted() as queries:
        assert len(client.get("/users/1/orders?fields=id,total_cents&limit=20").json["orders"]) == 20
    assert queries() == 1


def test_a_sparse_page_is_a_fraction_of_the_bytes(client):
    whole, part = (client.get(f"/users/1/orders{query}").data for query in ("", "?fields=id,status,total_cents"))
    assert len(part) < len(whole) / 3


@pytest.mark.parametrize("path", ["/orders/9", "/products/9", "/users/1/orders"])
@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("fields=", "fields: Value error, number 1 is no field; there are id, "),
        ("fields=id,,id", "number 2 is no field"),
        ("fields=id,colour", "number 2 is no field"),
        ("fields=id,%20id", "number 2 is no field"),
        ("fields=ID", "number 1 is no field"),
        ("fields=id.x", "number 1 is no field"),
        ("fields=lines.", "number 1 is no field"),
        ("fields=id&fields=id", "fields is given more than once"),
        ("field=id", "field: Extra inputs are not permitted"),
    ],
)
def test_fields_that_cannot_be_are_refused_with_those_there_are(client, path, query, text):
    assert_refused(client.get(f"{path}?{query}"), text)


def test_what_is_not_there_is_404_whatever_is_asked_of_it(client):
    for path in ("/orders/0", f"/orders/{2**63}", "/products/0"):
        assert client.get(f"{path}?fields=id").status_code == 404


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/orders/9", "/orders/{order_id}"),
        ("/products/9", "/products/{product_id}"),
        ("/users/1/orders", "/users/{user_id}/orders"),
    ],
)
def test_the_described_answer_is_that_of_whole_and_sparse_alike(client, path, template):
    document = client.get("/openapi.json").json
    described = document["paths"][template]["get"]
    assert [one["name"] for one in described["parameters"] if "created_at" in str(one) or "stock" in str(one)] == [
        "fields"
    ]
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    validator = Draft202012Validator(schema | {"components": document["components"]})
    for query in ("", "?fields=id", "?fields=lines.quantity" if path != "/products/9" else "?fields=name"):
        reply = client.get(path + query)
        assert reply.status_code == 200
        assert list(validator.iter_errors(reply.json)) == []
