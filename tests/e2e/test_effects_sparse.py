"""Sparse fieldsets on the running stack: through the gateway and the cache, with fewer bytes and fewer statements."""

import pytest

from tests.conditions import eventually
from tests.e2e.test_effects import cache_status, total

pytestmark = pytest.mark.usefixtures("control")


def test_fields_answers_what_was_asked_for_in_fewer_bytes_and_one_statement(control, client):
    def read(path: str) -> tuple[int, object]:
        before = total(control, "orders", "costlab_db_queries_total")
        reply = client.get(path)
        assert reply.status == 200
        return int(total(control, "orders", "costlab_db_queries_total") - before), reply

    statements, whole = read("/api/users/1/orders?limit=20")
    fewer, sparse = read("/api/users/1/orders?limit=20&fields=id,total_cents")
    assert (statements, fewer) == (2, 1)
    assert sparse.json["next"] == whole.json["next"]
    assert sparse.json["orders"] == [
        {"id": order["id"], "total_cents": order["total_cents"]} for order in whole.json["orders"]
    ]
    assert len(sparse.body) < len(whole.body) / 3


def test_fields_nobody_has_are_refused_with_those_there_are(client):
    reply = client.get("/api/orders/9?fields=id,colour")
    assert reply.status == 422
    assert "number 2 is no field; there are id, user_id, status" in reply.json["detail"]


def test_each_selection_is_cached_by_itself_and_dropped_when_its_path_changes(control, client):
    control.set_flags({"gateway.reads": "cache_proxy", "cache.strategy": "ttl"})
    paths = [f"/api/users/34/orders?limit=1{fields}" for fields in ("", "&fields=id", "&fields=id,user_id")]
    first = [client.get(path).json["orders"][0] for path in paths]
    assert [len(order) for order in first] == [6, 1, 2]
    # A cache-proxy whose Redis was restarted by an earlier test leaves it alone for a moment, and stores nothing.
    eventually(lambda: all("hit" in cache_status(client.get(path)) for path in paths))

    placed = client.post("/api/orders", {"user_id": 34, "lines": [{"product_id": 1, "quantity": 1}]}).json["id"]
    # The cache hears of a change a moment after it; then all answers of the path are gone at once.
    eventually(lambda: client.get(paths[0]).json["orders"][0]["id"] == placed)
    replies = [client.get(path) for path in paths[1:]]
    assert all("hit" not in cache_status(reply) for reply in replies)
    assert [reply.json["orders"][0]["id"] for reply in replies] == [placed] * 2
