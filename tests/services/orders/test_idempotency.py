"""Idempotency keys: asked twice under one key, an order is placed once."""

import secrets
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from costlab.service.http_client import HEEDING_KEYS
from services.orders import idempotency
from services.orders.models import NewOrder
from services.orders.store import Claim
from tests.conditions import eventually

LINES = [{"product_id": 5, "quantity": 1, "price_cents": 100}]
BODY = {"user_id": 3, "lines": [{"product_id": 5, "quantity": 2}]}


@pytest.fixture
def key():
    return secrets.token_hex(16)


def place(client, key, body=BODY):
    return client.post("/orders", json=body, headers={"Idempotency-Key": key})


def test_the_same_key_and_body_are_answered_with_the_same_order(client, key):
    first, second = place(client, key), place(client, key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json == second.json
    assert first.headers["Location"] == second.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"


def test_a_key_may_be_quoted_or_bare(client, key):
    assert place(client, key).json == place(client, f'"{key}"').json


def test_a_body_is_the_same_however_it_is_written(client, key):
    first = place(client, key)
    other = '{ "lines": [{"quantity": 2,   "product_id": 5}], "user_id": 3 }'
    headers = {"Idempotency-Key": key}
    second = client.post("/orders", data=other, content_type="application/json", headers=headers)
    assert first.json == second.json


def test_another_body_under_the_same_key_is_422_and_places_nothing(client, key, database):
    place(client, key)
    before = database.one("select count(*) from orders.orders")
    reply = place(client, key, BODY | {"user_id": 4})
    assert reply.status_code == 422
    assert "this key was used for another order" in reply.json["detail"]
    assert database.one("select count(*) from orders.orders") == before


def test_a_refused_order_does_not_use_up_its_key(client, key):
    assert place(client, key, BODY | {"user_id": 10**9}).status_code == 422
    assert place(client, key).status_code == 201


def test_without_a_key_the_same_body_is_two_orders(client):
    first, second = (client.post("/orders", json=BODY).json["id"] for _ in range(2))
    assert first != second


def test_two_requests_at_once_under_one_key_make_one_order(app, key, database):
    """Many times, because they must meet; each pair starts at a barrier."""
    created = _placed("created")
    for attempt in range(20):
        barrier, replies = threading.Barrier(2), []

        def ask(attempt=attempt, barrier=barrier, replies=replies):
            barrier.wait(10)
            replies.append(place(app.test_client(), f"{key}-{attempt}"))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert [reply.status_code for reply in replies] == [201, 201]
        assert replies[0].json == replies[1].json
    assert _placed("created") - created == 20
    claimed = "select count(*), count(distinct order_id) from orders.idempotency_keys where key like %s"
    assert database.rows(claimed, f"{key}-%") == [(20, 20)]
    orders = "select count(*) from orders.idempotency_keys join orders.orders on id = order_id where key like %s"
    assert database.one(orders, f"{key}-%") == 20


def test_the_slower_of_two_waits_for_the_faster_to_commit(database, store, key):
    """The second claim of a key is decided by how the first transaction ends, not by who looked first."""
    claim_first = "insert into idempotency_keys (key, fingerprint, order_id) values (%s, %s, 1)"
    outcome = []
    with database.connect("orders") as link, link.cursor() as statements:
        link.autocommit = False
        statements.execute(claim_first, [key, b"x"])
        slower = threading.Thread(target=lambda: outcome.append(store.add(1, LINES, Claim(key, b"x"))))
        slower.start()
        waiting = "select count(*) from pg_stat_activity where application_name = 'tests' and wait_event_type = 'Lock'"
        eventually(lambda: database.one(waiting) == 1)
        assert outcome == []
        link.commit()
        slower.join(10)
    assert outcome == [None]


def test_switched_off_a_key_is_ignored_and_each_request_is_an_order(client, key, set_flag, database):
    set_flag("orders.idempotency", "off")
    first, second = place(client, key), place(client, key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json["id"] != second.json["id"]
    assert "Idempotency-Replayed" not in second.headers
    assert database.one("select count(*) from orders.idempotency_keys where key = %s", key) == 0


def test_a_key_used_while_it_was_ignored_is_free_afterwards(client, key, set_flag):
    set_flag("orders.idempotency", "off")
    ignored = place(client, key)
    set_flag("orders.idempotency", "on")
    first, second = place(client, key), place(client, key)
    assert len({ignored.json["id"], first.json["id"]}) == 2
    assert first.json == second.json


def test_the_http_client_sends_again_under_a_key_what_heeds_one_and_nothing_else(client):
    paths = client.get("/openapi.json").json["paths"]
    heeding = {
        (method.upper(), path)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if any(parameter["name"] == idempotency.HEADER for parameter in operation["parameters"])
    }
    assert heeding == HEEDING_KEYS.keys()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=12))
def test_whatever_is_sent_again_there_is_one_order_for_each_key(client, database, requests):
    """Requests are (key, quantity): the first of a key decides its order, the same one again is answered with it."""
    run = secrets.token_hex(8)
    decided: dict[int, tuple[int, int]] = {}
    for number, quantity in requests:
        reply = place(client, f"{run}-{number}", {"user_id": 3, "lines": [{"product_id": 5, "quantity": quantity}]})
        if number not in decided:
            decided[number] = (quantity, reply.json["id"])
            assert reply.status_code == 201
        elif decided[number][0] == quantity:
            assert (reply.status_code, reply.json["id"]) == (201, decided[number][1])
        else:
            assert reply.status_code == 422
    kept = database.rows("select order_id from orders.idempotency_keys where key like %s", f"{run}-%")
    assert sorted(order for (order,) in kept) == sorted(order for _, order in decided.values())


@pytest.mark.parametrize("malformed", ["", "a b", "x" * 256, '"unclosed', "é", '""'])
def test_a_malformed_key_is_400(client, malformed):
    reply = place(client, malformed)
    assert reply.status_code == 400
    assert "Idempotency-Key: expected 1 to 255 visible ASCII characters" in reply.json["detail"]


def test_fingerprints_differ_when_bodies_do():
    new = NewOrder.model_validate(BODY)
    other = NewOrder.model_validate(BODY | {"lines": [{"product_id": 5, "quantity": 3}]})
    assert idempotency.fingerprint(new) == idempotency.fingerprint(new.model_copy(deep=True))
    assert idempotency.fingerprint(new) != idempotency.fingerprint(other)


def _placed(outcome):
    return REGISTRY.get_sample_value("costlab_orders_placed_total", {"outcome": outcome}) or 0
