"""Load shedding on the running stack: users stands still, and the gateway says so at once instead of waiting."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from costlab.stack.control import Control
from tests.conditions import eventually
from tests.e2e.test_effects import paused, total

pytestmark = pytest.mark.usefixtures("control")

PATIENT = {"X-Request-Timeout-Ms": "9000"}


@pytest.fixture
def crowd():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def decided(control: Control, policy: str, outcome: str) -> float:
    return total(control, "gateway", "costlab_shed_requests_total", policy=policy, outcome=outcome)


def answers_while_users_stands_still(stack, client, crowd, requests: int, refused: int) -> list:
    """The answers to requests made at once; users goes on when so many of them are refused."""
    with paused(stack, "users"):
        asked = [crowd.submit(client.get, f"/api/users/{user}", **PATIENT) for user in range(1, requests + 1)]
        eventually(lambda: sum(future.done() for future in asked) >= refused)
    return [future.result(20) for future in asked]


@pytest.mark.parametrize("policy", ["fixed", "codel", "adaptive_lifo"])
def test_gateway_shed_refuses_what_is_beyond_the_limit(stack, control, client, crowd, policy):
    """ "gateway.shed", "gateway.shed_limit": 2 of 6 requests wait for users, the others are told to come back."""
    control.set_flags({"gateway.shed": policy, "gateway.shed_limit": 2})
    shed, admitted = decided(control, policy, "shed"), decided(control, policy, "admitted")
    good = total(control, "gateway", "costlab_goodput_total")
    replies = answers_while_users_stands_still(stack, client, crowd, 6, 4)
    assert sorted(reply.status for reply in replies) == [200] * 2 + [503] * 4
    assert {reply.headers["Retry-After"] for reply in replies if reply.status == 503} == {"1"}
    assert decided(control, policy, "shed") == shed + 4
    assert decided(control, policy, "admitted") == admitted + 2
    assert total(control, "gateway", "costlab_goodput_total") == good + 2
    assert total(control, "gateway", "costlab_shed_limit") == 2
    control.set_flags({"gateway.shed_limit": 4})
    replies = answers_while_users_stands_still(stack, client, crowd, 6, 2)
    assert [reply.status for reply in replies].count(200) == 4
    control.set_flags({"gateway.shed": None})
    replies = answers_while_users_stands_still(stack, client, crowd, 6, 0)
    assert [reply.status for reply in replies] == [200] * 6
    assert total(control, "gateway", "costlab_shed_limit") == 0


@pytest.mark.parametrize("policy", ["codel", "adaptive_lifo"])
def test_a_queue_that_is_worked_off_is_served(control, client, crowd, policy):
    """One at a time, and users answers: those who wait for their turn get it, and their wait is measured."""

    def waited() -> float:
        return total(control, "gateway", "costlab_shed_queue_seconds_count")

    def everybody_served() -> bool:
        before = waited()
        replies = list(crowd.map(lambda user: client.get(f"/api/users/{user}"), range(1, 9)))
        return waited() > before and {reply.status for reply in replies} == {200}

    control.set_flags({"gateway.shed": policy, "gateway.shed_limit": 1})
    eventually(everybody_served, within=20)
    control.set_flags({"gateway.shed": None})
    before = waited()
    list(crowd.map(lambda user: client.get(f"/api/users/{user}"), range(1, 9)))
    assert waited() == before


def test_gradient2_lowers_its_limit_when_users_gets_slow_and_raises_it_again(stack, control, client, crowd):
    def limit() -> float:
        return total(control, "gateway", "costlab_shed_limit")

    def ask(timeout: str) -> list[int]:
        asked = {"X-Request-Timeout-Ms": timeout}
        return list(crowd.map(lambda user: client.get(f"/api/users/{user}", **asked).status, range(1, 33)))

    control.set_flags({"gateway.shed": "gradient2", "users.slots": 4, "users.slot_ms": 10})
    assert limit() == 8
    # What users takes as a rule is known by then: 20 ms, with 8 requests at once.
    eventually(lambda: bool(ask("9000")) and limit() >= 10, within=20)
    with paused(stack, "users"):
        eventually(lambda: 503 in ask("200") and limit() <= 6, within=20)
    assert decided(control, "gradient2", "shed") > 0
    lowest = limit()
    eventually(lambda: bool(ask("9000")) and limit() > lowest, within=20)
    control.set_flags({"gateway.shed": None, "users.slots": None})
    assert ask("9000") == [200] * 32
