"""Versions of users: which one answers whom, and what of it is counted."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from redis import Redis

from costlab.service.flags import FlagStore, Registry
from costlab.service.rollout import Rollout
from services.users.models import MAX_ID, User
from services.users.versioned_read import FLAG, HEADER
from services.users.versions import VERSIONS, v2_failing, v2_slow
from tests.conditions import eventually
from tests.services.conftest import counted


@pytest.fixture
def store(app, redis_url):
    """The flags of the service under test, at their defaults again when the test ends."""
    flags = app.extensions["costlab"].flags
    with Redis.from_url(redis_url) as redis:
        held = FlagStore(redis, Registry.load())

        class Following:
            def set(self, value):
                follow(held.set({FLAG: value}))

            def roll_out(self, value, percent):
                follow(held.roll_out({FLAG: Rollout(value, percent, "salt", time.time() + 60)}))

        def follow(revision):
            eventually(lambda: flags.revision >= revision)

        yield Following()
        follow(held.set({FLAG: None}))


def requests(**labels: str) -> float:
    return REGISTRY.get_sample_value("costlab_rollout_duration_seconds_count", {"flag": FLAG} | labels) or 0.0


def mismatches(value: str) -> float:
    return REGISTRY.get_sample_value("costlab_rollout_mismatches_total", {"flag": FLAG, "value": value}) or 0.0


def versions(client, users) -> dict[int, str]:
    return {user: client.get(f"/users/{user}").headers[HEADER] for user in users}


def test_the_first_version_answers_and_nothing_is_counted(client):
    before = requests(value="v1", group="all", outcome="ok")
    reply = client.get("/users/7")
    assert (reply.status_code, reply.headers[HEADER]) == (200, "v1")
    assert requests(value="v1", group="all", outcome="ok") == before


def test_every_version_of_the_flag_is_there():
    assert list(VERSIONS) == list(Registry.load()[FLAG].values)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(user=st.integers(1, 10_000) | st.integers(0, MAX_ID + 1))
def test_v2_answers_what_v1_answers(users, user):
    assert VERSIONS["v2"](users, user) == VERSIONS["v1"](users, user)


@pytest.fixture(scope="module")
def users(app):
    """The store alone."""
    return next(
        cell.cell_contents._store
        for cell in app.view_functions["users.get"].__closure__
        if hasattr(cell.cell_contents, "_store")
    )


@pytest.mark.parametrize("version", ["v2", "v2_slow", "v2_wrong"])
def test_a_version_set_for_everybody_answers_by_the_schema_and_is_counted(client, store, version):
    whole = client.get("/users/7").json
    store.set(version)
    before = requests(value=version, group="all", outcome="ok")
    with counted() as queries:
        reply = client.get("/users/7")
    assert (reply.status_code, reply.headers[HEADER]) == (200, version)
    User.model_validate(reply.json)
    assert reply.json == (whole | {"name": "user7@example.com"} if version == "v2_wrong" else whole)
    assert requests(value=version, group="all", outcome="ok") == before + 1
    assert queries() == 1


def test_v2_slow_is_late(client, store):
    store.set("v2_slow")
    started = time.monotonic()
    client.get("/users/7")
    assert time.monotonic() - started >= v2_slow.SLOW_SECONDS


def test_v2_failing_fails_for_its_share_of_requests_and_says_which_version_it_was(client, store):
    store.set("v2_failing")
    before = requests(value="v2_failing", group="all", outcome="error")
    replies = [client.get("/users/7") for _ in range(200)]
    failed = [reply for reply in replies if reply.status_code == 500]
    assert 10 < len(failed) < 75  # 40, give or take six standard deviations
    assert {reply.headers[HEADER] for reply in replies} == {"v2_failing"}
    assert failed[0].content_type == "application/problem+json"
    assert requests(value="v2_failing", group="all", outcome="error") == before + len(failed)
    assert v2_failing.FAILING_SHARE == 0.2


def test_a_user_nobody_is_is_404_in_every_version(client, store):
    for version in ("v1", "v2", "v2_wrong", "v2_slow"):
        store.set(version)
        reply = client.get(f"/users/{2**63}")
        assert (reply.status_code, reply.headers[HEADER]) == (404, version)


def test_a_rollout_gives_a_version_to_the_same_users_each_time_and_growing_keeps_them(client, store):
    users = range(1, 201)
    store.roll_out("v2", 20)
    first = versions(client, users)
    assert first == versions(client, users)
    drawn = {user for user, version in first.items() if version == "v2"}
    assert 10 < len(drawn) < 75
    store.roll_out("v2", 50)
    grown = {user for user, version in versions(client, users).items() if version == "v2"}
    assert drawn < grown
    store.set("v2")
    assert set(versions(client, users).values()) == {"v2"}


def test_a_rollout_counts_each_group_by_itself(client, store):
    store.roll_out("v2", 30)
    groups = {"canary": "v2", "baseline": "v1", "rest": "v1"}
    before = {group: requests(value=value, group=group, outcome="ok") for group, value in groups.items()}
    seen = versions(client, range(1, 101))
    counted = {
        group: requests(value=value, group=group, outcome="ok") - before[group] for group, value in groups.items()
    }
    assert sum(counted.values()) == 100
    assert counted["canary"] == list(seen.values()).count("v2")
    assert counted["baseline"] > 10


def test_answers_of_the_canary_are_compared_with_the_first_version(client, store):
    store.roll_out("v2_wrong", 50)
    before = mismatches("v2_wrong")
    wrong = list(versions(client, range(1, 51)).values()).count("v2_wrong")
    assert mismatches("v2_wrong") == before + wrong > before


def test_the_comparison_finds_nothing_in_a_right_version_and_costs_the_canary_one_query(client, store):
    store.roll_out("v2", 100)
    before = mismatches("v2")
    with counted() as queries:
        client.get("/users/7")
    assert (queries(), mismatches("v2")) == (2, before)
