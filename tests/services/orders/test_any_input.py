"""Whatever is sent, orders answers with a reason and never with a 500."""

import json
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
LINES = st.lists(
    st.fixed_dictionaries({"product_id": SCALARS | st.just(5), "quantity": SCALARS | st.just(1)}), max_size=3
)
ORDERS = JSON | st.fixed_dictionaries({"user_id": SCALARS | st.just(1), "lines": LINES | JSON})
# What fits into a path or a header line; what does not is refused by the HTTP server before.
SEGMENT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)

examples = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_answered(reply):
    assert reply.status_code < 500, reply.data
    if reply.status_code >= 400:
        assert reply.content_type == "application/problem+json"
        assert reply.json["detail"]


@examples
@given(body=ORDERS, key=st.none() | HEADER)
def test_any_body_and_key(client, body, key):
    headers = {} if key is None else {"Idempotency-Key": key}
    document = json.dumps(body)  # the standard library's, which writes numbers that ours refuses to
    assert_answered(client.post("/orders", data=document, headers=headers, content_type="application/json"))


@examples
@given(raw=st.binary(max_size=60))
def test_any_bytes(client, raw):
    assert_answered(client.post("/orders", data=raw, content_type="application/json"))


@examples
@given(resource=st.sampled_from(["/orders/{}", "/products/{}", "/users/{}/orders"]), segment=SEGMENT)
def test_any_path(client, resource, segment):
    assert_answered(client.get(resource.format(quote(segment, safe=""))))


@examples
@given(name=st.sampled_from(["limit", "after"]) | st.text(max_size=8), value=st.text(max_size=30))
def test_any_query(client, name, value):
    assert_answered(client.get("/users/1/orders", query_string={name: value}))
