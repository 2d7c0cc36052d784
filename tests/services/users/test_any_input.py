"""Whatever is sent, users answers with a reason and never with a 500."""

import json
import secrets
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=120)
EMAILS = st.builds(lambda name: f"{name}@{secrets.token_hex(8)}.org", st.text(max_size=20))
USERS = SCALARS | st.lists(SCALARS) | st.fixed_dictionaries({"name": SCALARS, "email": SCALARS | EMAILS})

examples = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_answered(reply):
    assert reply.status_code < 500, reply.data
    if reply.status_code >= 400:
        assert reply.content_type == "application/problem+json"
        assert reply.json["detail"]


@examples
@given(body=USERS)
def test_any_body(client, body):
    reply = client.post("/users", data=json.dumps(body), content_type="application/json")
    assert_answered(reply)
    if reply.status_code == 201:
        assert client.get(reply.headers["Location"]).json == reply.json


@examples
@given(segment=st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_any_path(client, segment):
    assert_answered(client.get(f"/users/{quote(segment, safe='')}"))


@examples
@given(name=st.just("ids") | st.text(max_size=8), value=st.text("0123456789,-. x\x00", max_size=30) | st.text())
def test_any_query(client, name, value):
    assert_answered(client.get("/users", query_string={name: value}))
