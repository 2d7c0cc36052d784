"""users: by id, in batch, create; every refusal says why."""

import json
import secrets
import threading

import pytest
from redis import Redis

from costlab.service.invalidation import CHANNEL
from services.users.models import User, Users
from tests.services.conftest import counted


def new_email() -> str:
    return f"{secrets.token_hex(8)}@example.org"


def create(client, **body):
    return client.post("/users", json={"name": "Ada Lovelace", "email": new_email()} | body)


def assert_problem(reply, status, text):
    assert reply.status_code == status, reply.data
    assert reply.content_type == "application/problem+json"
    assert reply.json["status"] == status
    assert text in reply.json["detail"]
    assert reply.json["request_id"] == reply.headers["X-Request-Id"]


def test_a_user_is_answered_by_id(client):
    reply = client.get("/users/7")
    assert reply.status_code == 200
    user = User.model_validate(reply.json)
    assert (user.id, user.email, user.created_at.isoformat()) == (7, "user7@example.com", "2024-01-01T00:07:00+00:00")


@pytest.mark.parametrize("user_id", [0, 10**9, 2**63 - 1, 2**63, 10**30])
def test_an_id_nobody_has_is_404_however_large(client, user_id):
    assert_problem(client.get(f"/users/{user_id}"), 404, f"no user {user_id}")


@pytest.mark.parametrize("path", ["/users/x", "/users/-1", "/users/1.5", "/users/", "/nowhere"])
def test_a_path_that_is_none_is_404(client, path):
    assert_problem(client.get(path), 404, "not found")


def test_a_batch_keeps_the_order_it_was_asked_in_and_leaves_out_who_does_not_exist(client):
    reply = client.get("/users?ids=9,3,999999999,5,3")
    assert [user.id for user in Users.model_validate(reply.json).users] == [9, 3, 5]


def test_a_batch_is_one_query(client):
    with counted() as queries:
        reply = client.get(f"/users?ids={','.join(map(str, range(1, 101)))}")
    assert len(reply.json["users"]) == 100
    assert queries() == 1


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "ids: Field required"),
        ("?ids=", "ids.0: Input should be a valid integer"),
        ("?ids=1,x", "ids.1: Input should be a valid integer"),
        ("?ids=0", "greater than or equal to 1"),
        (f"?ids={2**63}", "less than or equal to 9223372036854775807"),
        (f"?ids={','.join(['1'] * 101)}", "at most 100 items"),
        ("?ids=1&ids=2", "ids is given more than once"),
        ("?ids=1&colour=red", "colour: Extra inputs are not permitted"),
        ("?ids=1%00", "Input should be a valid integer"),
    ],
)
def test_a_batch_that_cannot_be_is_422(client, query, text):
    assert_problem(client.get(f"/users{query}"), 422, text)


def test_a_resource_without_query_refuses_one(client):
    assert_problem(client.get("/users/1?fields=name"), 422, "fields: this resource takes no query parameters")


def test_a_new_user_is_created_and_found_where_the_location_says(client):
    email = new_email()
    reply = create(client, name="  Grace Hopper ", email=email)
    assert reply.status_code == 201
    user = User.model_validate(reply.json)
    assert (user.name, user.email, user.tier) == ("Grace Hopper", email, "standard")
    assert client.get(reply.headers["Location"]).json == reply.json


def test_an_address_belongs_to_one_user_in_whatever_case(client):
    email = new_email()
    assert create(client, email=email).status_code == 201
    assert_problem(create(client, email=email.upper()), 409, "email address already")


def test_a_key_does_not_make_a_creation_repeatable(client):
    """Which is why nobody between the client and users may send one again (HEEDING_KEYS)."""
    body, key = {"name": "Ada", "email": new_email()}, {"Idempotency-Key": "k"}
    assert client.post("/users", json=body, headers=key).status_code == 201
    assert_problem(client.post("/users", json=body, headers=key), 409, "email address already")


def test_two_requests_at_once_with_one_address_make_one_user(app):
    email, barrier, statuses = new_email(), threading.Barrier(2), []

    def sign_up():
        barrier.wait(10)
        statuses.append(create(app.test_client(), email=email).status_code)

    threads = [threading.Thread(target=sign_up) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(statuses) == [201, 409]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": 7}, "name"),
        ({"name": None}, "name"),
        ({"email": "nobody"}, "email"),
        ({"email": "a@b"}, "email"),
        ({"email": "a\x00@b.c"}, "email"),
        ({"email": "a b@c.d"}, "email"),
        ({"email": f"{'x' * 250}@b.cd"}, "email"),
        ({"tier": "gold"}, "tier"),
    ],
)
def test_a_field_that_is_not_allowed_is_422_and_named(client, change, field):
    reply = create(client, **change)
    assert_problem(reply, 422, f"body: {field}: ")
    assert [error["field"] for error in reply.json["errors"]] == [field]


@pytest.mark.parametrize("missing", ["name", "email"])
def test_a_field_that_is_missing_is_422_and_named(client, missing):
    body = {"name": "Ada", "email": new_email()}
    del body[missing]
    assert_problem(client.post("/users", json=body), 422, f"{missing}: Field required")


@pytest.mark.parametrize("body", ["", "{", "[1,", b"\xff", '{"name": "\\ud800"}', "NaN"])
def test_a_body_that_is_not_json_is_400(client, body):
    assert_problem(client.post("/users", data=body, content_type="application/json"), 400, "not JSON")


@pytest.mark.parametrize("body", ["[]", "7", "null", '"text"'])
def test_a_body_that_is_not_an_object_is_422(client, body):
    assert_problem(client.post("/users", data=body, content_type="application/json"), 422, "body: ")


def test_a_body_of_another_type_is_415(client):
    assert_problem(client.post("/users", data="name=x"), 415, "must be JSON")


def test_a_body_over_a_megabyte_is_413(client):
    assert_problem(create(client, name="x" * 2**21), 413, "")


def test_a_method_that_is_not_there_is_405_and_says_which_are(client):
    reply = client.delete("/users/1")
    assert_problem(reply, 405, "")
    assert "GET" in reply.headers["Allow"]


def test_a_new_user_is_announced_to_the_cache(client, redis_url):
    with Redis.from_url(redis_url) as redis, redis.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(CHANNEL)
        assert listener.get_message(timeout=5) is None  # the confirmation, which is swallowed
        created = create(client).json["id"]
        message = listener.get_message(timeout=5)
    assert json.loads(message["data"]) == ["/users", f"/users/{created}"]


def test_every_operation_is_described(client):
    paths = client.get("/openapi.json").json["paths"]
    assert {path: sorted(methods) for path, methods in paths.items()} == {
        "/users": ["get", "post"],
        "/users/{user_id}": ["get"],
    }
