"""Every flag of the HTTP client has its effect on the running stack, seen at the gateway and the service it calls."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conditions import eventually
from tests.e2e.test_effects import total

pytestmark = pytest.mark.usefixtures("control")


def opened(control) -> float:
    """Connections the gateway has opened to users."""
    return total(control, "gateway", "costlab_connections_opened_total", peer="users")


def test_http_reuse_per_call_opens_a_connection_for_each_request(control, client):
    """ "http.reuse": ten requests open ten connections per call, and none while connections are pooled."""

    def ask() -> float:
        before = opened(control)
        for user in range(1, 11):
            assert client.get(f"/api/users/{user}").status == 200
        return opened(control) - before

    ask()
    assert ask() == 0
    control.set_flags({"http.reuse": "per_call"})
    assert ask() == 10
    control.set_flags({"http.reuse": None})
    ask()
    assert ask() == 0


def test_http_pool_size_of_one_makes_calls_wait_for_each_other(control, client):
    """ "http.pool_size": with one connection to users, requests at once wait; with the default none does."""

    def waits() -> float:
        return total(control, "gateway", "costlab_connection_wait_seconds_count", peer="users")

    def ask_at_once() -> float:
        before = waits()
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda user: client.get(f"/api/users/{user}"), range(1, 33)))
        assert {reply.status for reply in replies} == {200}
        return waits() - before

    assert ask_at_once() == 0
    control.set_flags({"http.pool_size": 1})
    eventually(lambda: ask_at_once() > 0, within=20)
    control.set_flags({"http.pool_size": None})
    assert ask_at_once() == 0
