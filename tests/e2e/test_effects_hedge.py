"""Hedging on the running stack: users counts more requests than the gateway served, and never more than the cap."""

import pytest

from costlab.stack.control import Control
from tests.conditions import eventually
from tests.e2e.test_effects import total

pytestmark = pytest.mark.usefixtures("control")

# Each request takes users at least this long, so that one millisecond after it was sent it is late.
SLOW = {"users.slots": 8, "users.slot_ms": 20}


def seen(control: Control, service: str, method: str = "GET") -> float:
    """Requests a service has answered on its routes for users."""
    return sum(
        total(
            control,
            service,
            "http_server_request_duration_seconds_count",
            http_route=route,
            http_request_method=method,
        )
        for route in ("/users/<int:user_id>", "/api/users/{id}", "/users", "/api/users")
    )


def hedges(control: Control, outcome: str) -> float:
    return total(control, "gateway", "costlab_hedges_total", upstream="users", outcome=outcome)


class Extra:
    """Requests that users has got beyond those the gateway has served, since it was made."""

    def __init__(self, control: Control, method: str = "GET") -> None:
        self._control, self._method = control, method
        self._before = self._difference()

    def _difference(self) -> float:
        return seen(self._control, "users", self._method) - seen(self._control, "gateway", self._method)

    def __call__(self) -> float:
        return self._difference() - self._before


def ask(client, requests: int) -> None:
    assert {client.get(f"/api/users/{user}").status for user in range(1, requests + 1)} == {200}


def test_gateway_hedge_fixed_asks_again_after_gateway_hedge_ms(control, client):
    """ "gateway.hedge", "gateway.hedge_ms": late requests reach users twice; with a longer delay, or off, once."""
    control.set_flags({**SLOW, "gateway.hedge": "fixed", "gateway.hedge_ms": 1, "gateway.hedge_cap": 1})
    extra, sent = Extra(control), hedges(control, "sent")
    ask(client, 10)
    assert hedges(control, "sent") == sent + 10
    eventually(lambda: extra() == 10)
    control.set_flags({"gateway.hedge_ms": 10_000})
    ask(client, 10)
    control.set_flags({"gateway.hedge_ms": 1, "gateway.hedge": None})
    ask(client, 10)
    assert extra() == 10


def test_gateway_hedge_cap_bounds_what_hedging_adds(control, client):
    """ "gateway.hedge_cap": of 60 late requests a burst of 10 and 1 in 20 are sent twice, the others are refused."""
    control.set_flags({**SLOW, "gateway.hedge": "fixed", "gateway.hedge_ms": 1, "gateway.hedge_cap": 0.05})
    extra, sent, capped = Extra(control), hedges(control, "sent"), hedges(control, "capped")
    ask(client, 60)
    added = hedges(control, "sent") - sent
    assert 0 < added <= 10 + 60 * 0.05
    assert hedges(control, "capped") - capped == 60 - added
    eventually(lambda: extra() == added)
    control.set_flags({"gateway.hedge_cap": 1})
    ask(client, 10)
    assert hedges(control, "sent") - sent == added + 10


def test_gateway_hedge_p95_asks_again_when_an_answer_is_among_the_slowest(control, client):
    control.set_flags({"gateway.hedge": "p95", "gateway.hedge_cap": 1})
    sent = hedges(control, "sent")
    ask(client, 40)
    control.set_flags(SLOW)

    def hedged() -> bool:
        ask(client, 10)
        return hedges(control, "sent") > sent

    # What was slow before on a busy machine has to leave the window of 200 first.
    eventually(hedged, within=60)
    control.set_flags({"gateway.hedge": None})
    sent = hedges(control, "sent")
    ask(client, 10)
    assert hedges(control, "sent") == sent


def test_a_post_is_never_hedged(control, client):
    control.set_flags({**SLOW, "gateway.hedge": "fixed", "gateway.hedge_ms": 0.1, "gateway.hedge_cap": 1})
    extra, sent = Extra(control, "POST"), hedges(control, "sent")
    for number in range(5):
        assert client.post("/api/users", {"name": "A", "email": f"hedge-{number}@example.com"}).status == 201
    assert (extra(), hedges(control, "sent")) == (0, sent)
    ask(client, 1)
    assert hedges(control, "sent") == sent + 1
