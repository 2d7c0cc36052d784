"""A stack with three instances of users: each is one of its own, and callers do with those that are there."""

import re
import signal

import pytest

from costlab.stack import StackError
from tests.conditions import eventually
from tests.e2e.test_effects import total

pytestmark = pytest.mark.long

USERS = ("users", "users-2", "users-3")


def row(stack, name):
    return next(row for row in stack.status() if row.name == name)


def served(control, instance: str) -> float:
    return total(control, instance, "http_server_request_duration_seconds_count", http_route="/users/<int:user_id>")


def test_every_instance_is_healthy_and_has_a_name_and_ports_of_its_own(replicated_stack):
    rows = [row(replicated_stack, name) for name in USERS]
    assert all(row.healthy for row in rows)
    assert len({row.port for row in rows} | {row.internal_port for row in rows}) == 6
    with pytest.raises(StackError, match=r"no service 'users-4'; there are .*users, users-2, users-3"):
        replicated_stack.logs("users-4", follow=False)


def test_a_flag_is_in_force_only_when_every_instance_has_it(replicated_control):
    revision = replicated_control.set_flags({"cache.ttl": 7})
    for name in USERS:
        assert total(replicated_control, name, "costlab_flags_revision") >= revision


def test_usage_adds_up_the_instances_of_a_service(replicated_stack):
    rows = [row(replicated_stack, name) for name in USERS]
    usage = replicated_stack.usage()
    assert not any(re.fullmatch(r"users-\d", name) for name in usage)
    assert usage["users"].cpu_seconds >= sum(row.cpu_seconds for row in rows)
    assert usage["users"].memory_bytes > 2 * min(row.memory_bytes for row in rows)


def test_requests_are_spread_over_all_instances(replicated_control, replicated_client):
    def spread() -> list[float]:
        before = [served(replicated_control, name) for name in USERS]
        for user in range(1, 31):
            assert replicated_client.get(f"/api/users/{user}").status == 200
        return [served(replicated_control, name) - then for name, then in zip(USERS, before, strict=True)]

    # One that a test before this one had stopped may still be left out for a while.
    eventually(lambda: spread() == [10, 10, 10], within=40)


def test_without_one_instance_no_request_fails_and_it_serves_again_once_it_is_back(
    replicated_stack, replicated_control, replicated_client
):
    gone = "users-2"
    replicated_stack.stop(gone)
    assert not row(replicated_stack, gone).healthy
    assert {replicated_client.get(f"/api/users/{user}").status for user in range(1, 21)} == {200}
    orders = {"user_id": 1, "lines": [{"product_id": 1, "quantity": 1}]}
    assert {replicated_client.post("/api/orders", orders).status for _ in range(4)} == {201}
    replicated_stack.start(gone)
    before = served(replicated_control, gone)

    def serves() -> bool:
        assert replicated_client.get("/api/users/1").status == 200
        return served(replicated_control, gone) > before

    eventually(serves, within=40)


def test_an_instance_is_killed_alone(replicated_stack, replicated_control, replicated_client):
    before = {name: row(replicated_stack, name).pid for name in USERS}
    replicated_stack.kill("users-3", signal.SIGKILL)
    eventually(lambda: row(replicated_stack, "users-3").pid not in (before["users-3"], None), within=20)
    eventually(lambda: row(replicated_stack, "users-3").healthy, within=20)
    assert [row(replicated_stack, name).pid for name in USERS[:2]] == [before[name] for name in USERS[:2]]
    assert replicated_client.get("/api/users/1").status == 200
