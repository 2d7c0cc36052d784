"""Balancing and ejection on a running stack with three instances of users, read off the gateway's counters."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from costlab.stack.control import Control
from tests.conditions import eventually
from tests.e2e.test_effects import paused, total

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("replicated_control")]

PATIENT = {"X-Request-Timeout-Ms": "9000"}
HASTY = {"X-Request-Timeout-Ms": "300"}


@pytest.fixture
def gateway(replicated_stack):
    """Flags and metrics of the gateway alone: an instance that stands still takes over no flags."""
    return Control({"gateway": replicated_stack.internal_urls()["gateway"]}, replicated_stack.token())


def sent(gateway, outcome: str = "ok") -> list[float]:
    """Requests the gateway has sent to each instance."""
    return [
        total(gateway, "gateway", "costlab_replica_requests_total", upstream="users", replica=number, outcome=outcome)
        for number in ("1", "2", "3")
    ]


def spread(gateway, client, requests: int = 30, **headers: str) -> list[float]:
    """How many of so many requests, one after the other, each instance answers."""
    before = sent(gateway)
    for user in range(1, requests + 1):
        assert client.get(f"/api/users/{user}", **headers).status == 200
    return [after - then for after, then in zip(sent(gateway), before, strict=True)]


@contextmanager
def one_request_stuck(stack, gateway, client) -> Iterator[None]:
    """users-2 stands still with a request under way."""
    gateway.set_flags({"gateway.balancer": "round_robin"})
    with ThreadPoolExecutor(3) as pool, paused(stack, "users-2"):
        asked = [pool.submit(client.get, f"/api/users/{user}", **PATIENT) for user in (1, 2, 3)]
        eventually(lambda: sum(future.done() for future in asked) == 2)
        yield


def test_round_robin_and_random_spread_requests_evenly_and_nearly_so(gateway, replicated_client):
    """ "gateway.balancer": in turn each instance gets a third of 30 requests, at random hardly ever exactly that."""
    eventually(lambda: spread(gateway, replicated_client) == [10, 10, 10], within=40)
    gateway.set_flags({"gateway.balancer": "random"})
    eventually(lambda: spread(gateway, replicated_client) != [10, 10, 10], within=20)
    assert min(spread(gateway, replicated_client)) > 0
    gateway.set_flags({"gateway.balancer": None})
    assert spread(gateway, replicated_client) == [10, 10, 10]


@pytest.mark.parametrize("policy", ["least_inflight", "two_choices"])
def test_an_instance_that_is_stuck_gets_no_more_requests_from_a_policy_that_counts(
    replicated_stack, gateway, replicated_client, policy
):
    with one_request_stuck(replicated_stack, gateway, replicated_client):
        gateway.set_flags({"gateway.balancer": policy})
        first, stuck, third = spread(gateway, replicated_client)
        assert stuck == 0
        assert min(first, third) > 0
    eventually(lambda: spread(gateway, replicated_client)[1] > 0, within=20)


def test_counts_that_are_old_do_not_show_that_an_instance_is_stuck(replicated_stack, gateway, replicated_client):
    """ "gateway.balancer_staleness": ten seconds ago nothing was under way anywhere, so users-2 is asked again."""
    gateway.set_flags({"gateway.balancer_staleness": 10})
    with one_request_stuck(replicated_stack, gateway, replicated_client):
        gateway.set_flags({"gateway.balancer": "least_inflight"})
        eventually(lambda: replicated_client.get("/api/users/1", **HASTY).status == 504, within=20)


def test_shuffle_sharding_keeps_a_client_on_instances_of_its_own(gateway, replicated_client):
    """ "gateway.shard_size": two of three instances for a client, then one, then all."""

    def used(key: str) -> set[int]:
        return {
            place for place, requests in enumerate(spread(gateway, replicated_client, **{"X-Api-Key": key})) if requests
        }

    gateway.set_flags({"gateway.balancer": "shuffle_shard"})
    eventually(lambda: len(used("demo")) == 2, within=40)
    mine = used("demo")
    assert used("demo") == mine
    assert len(used("batch")) == 2
    gateway.set_flags({"gateway.shard_size": 1})
    assert len(used("demo")) == 1
    assert used("demo") <= mine
    gateway.set_flags({"gateway.shard_size": 3})
    assert used("demo") == {0, 1, 2}


def test_an_instance_that_has_gone_is_ejected_and_asked_again_when_it_is_back(
    replicated_stack, gateway, replicated_client
):
    """ "http.ejection": without it a third of the requests meets the instance that has gone; no client notices."""

    def met() -> float:
        before = sent(gateway, "unreachable")[2]
        assert {replicated_client.get(f"/api/users/{user}").status for user in range(1, 91)} == {200}
        return sent(gateway, "unreachable")[2] - before

    def ejections() -> float:
        return total(gateway, "gateway", "costlab_replica_ejections_total", upstream="users", replica="3")

    replicated_stack.stop("users-3")
    gateway.set_flags({"http.ejection": "off"})
    before = ejections()
    assert met() == 30
    assert ejections() == before
    gateway.set_flags({"http.ejection": "on"})
    assert 3 <= met() < 25
    assert ejections() > before
    eventually(lambda: met() < 25 and total(gateway, "gateway", "costlab_replicas_ejected", upstream="users") == 1)
    replicated_stack.start("users-3")
    eventually(lambda: spread(gateway, replicated_client) == [10, 10, 10], within=60)
    eventually(lambda: total(gateway, "gateway", "costlab_replicas_ejected", upstream="users") == 0)
