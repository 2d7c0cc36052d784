"""The slot pool on the running stack: a service serves n requests at once, each for its time, and no more."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conditions import eventually
from tests.e2e.test_effects import total

SLOTS = {
    "orders": ("orders.slots", "orders.slot_ms", "/api/products/7"),
    "users": ("users.slots", "users.slot_ms", "/api/users/7"),
}


def waited(control, service: str) -> float:
    return total(control, service, "costlab_slot_wait_seconds_count")


@pytest.mark.parametrize("service", SLOTS)
def test_a_slot_pool_serves_n_at_once_and_each_for_its_time(control, client, service):
    """ "orders.slots", "orders.slot_ms", "users.slots" and "users.slot_ms": 2 slots of 100 ms, 6 requests, 300 ms."""
    slots, milliseconds, path = SLOTS[service]
    client.get(path)
    before = waited(control, service)
    control.set_flags({slots: 2, milliseconds: 100})
    started = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        assert {reply.status for reply in pool.map(client.get, [path] * 6)} == {200}
    assert time.monotonic() - started >= 0.3
    assert waited(control, service) == before + 6
    assert total(control, service, "costlab_slots_in_use") == 0

    control.set_flags({slots: None, milliseconds: None})
    assert client.get(path).status == 200
    assert waited(control, service) == before + 6


def test_who_finds_no_slot_before_the_deadline_is_refused_and_the_pool_goes_on(control, client):
    """The gateway gives up at the same moment, so a client may see its 504 or the 503 of users."""
    control.set_flags({"users.slots": 1, "users.slot_ms": 500})
    refused = total(control, "users", "costlab_slots_refused_total")

    def ask(_: int) -> int:
        return client.get("/api/users/7", **{"X-Request-Timeout-Ms": "250"}).status

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(4))) <= {503, 504}
    eventually(lambda: total(control, "users", "costlab_slots_refused_total") == refused + 3)
    assert client.get("/api/users/7").status == 200
