"""Percentage rollouts: who is in them, how they are kept, and how a process decides for a user."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from redis import Redis

from costlab.service import rollout
from costlab.service.feature_provider import Decision, Features, FlagProvider
from costlab.service.flags import ROLLOUT, VALUES, BadFlagValue, Flags, FlagStore, Registry, UnknownFlag
from costlab.service.rollout import BASELINE, CANARY, REST, BadRollout, Rollout, bucket
from tests.conditions import eventually

FLAG = "users.version"
USERS = [str(number) for number in range(1, 10_001)]
SALTS = st.text("abcdef0123456789", min_size=1, max_size=8)
PERCENTS = st.floats(0, 100)
NAMES = st.integers(1, 10**9).map(str) | st.text(max_size=20)


def canary(percent: float, salt: str, flag: str = FLAG) -> set[str]:
    return {user for user in USERS if of(percent, salt).group(flag, user) == CANARY}


def of(percent: float, salt: str = "salt", until: float = math.inf, value: str = "v2") -> Rollout:
    return Rollout(value, percent, salt, until)


# Who is in it


@given(salt=SALTS, user=NAMES)
def test_a_user_has_one_bucket(salt, user):
    assert 0 <= bucket(salt, FLAG, user) == bucket(salt, FLAG, user) < 100


def test_buckets_never_change():
    """Written down: a user who is in a rollout today must be in it after tomorrow's deploy."""
    assert [round(bucket("salt", FLAG, user), 3) for user in ("1", "2", "alice")] == [77.475, 4.547, 82.856]


@given(salt=SALTS, user=NAMES, first=PERCENTS, second=PERCENTS)
def test_growing_takes_nobody_out(salt, user, first, second):
    smaller, larger = sorted((first, second))
    if of(smaller, salt).group(FLAG, user) == CANARY:
        assert of(larger, salt).group(FLAG, user) == CANARY


@settings(max_examples=50, deadline=None)
@given(salt=SALTS, percent=PERCENTS)
def test_the_share_of_users_is_the_percentage(salt, percent):
    """Within five standard deviations of the binomial, which one example in 1.7 million would leave by chance."""
    share = percent / 100
    assert abs(len(canary(percent, salt)) - 10_000 * share) <= 5 * math.sqrt(10_000 * share * (1 - share)) + 1


@settings(max_examples=25, deadline=None)
@given(salts=st.lists(SALTS, min_size=2, max_size=2, unique=True))
def test_two_salts_draw_independently(salts):
    """Half of the users twice: a quarter is in both, as with two coins."""
    assert abs(len(canary(50, salts[0]) & canary(50, salts[1])) - 2_500) < 5 * math.sqrt(10_000 * 0.25 * 0.75)


def test_two_flags_draw_independently():
    assert abs(len(canary(50, "salt") & canary(50, "salt", "other.flag")) - 2_500) < 217


@given(salt=SALTS, user=NAMES, percent=PERCENTS)
def test_canary_and_baseline_are_apart(salt, user, percent):
    """The baseline is as large as the canary, up to half of the users; beyond, it is everybody else."""
    drawn, group = bucket(salt, FLAG, user), of(percent, salt).group(FLAG, user)
    assert (group == CANARY) == (drawn < percent)
    assert (group == BASELINE) == (drawn >= max(percent, 100 - percent))


def test_nobody_at_zero_and_everybody_at_a_hundred_percent():
    assert canary(0, "salt") == set()
    assert canary(100, "salt") == set(USERS)


# What is refused


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "needs percent and value"),
        ({"value": "v2"}, "needs percent"),
        ({"value": "v2", "percent": -1}, "0 to 100"),
        ({"value": "v2", "percent": 101}, "0 to 100"),
        ({"value": "v2", "percent": "10"}, "0 to 100"),
        ({"value": "v2", "percent": True}, "0 to 100"),
        ({"value": 2, "percent": 10}, "value is a text"),
        ({"value": "v2", "percent": 10, "salt": "a:b"}, "salt"),
        ({"value": "v2", "percent": 10, "seconds": 0}, "1 to 3600"),
        ({"value": "v2", "percent": 10, "seconds": 3601}, "1 to 3600"),
        ({"value": "v2", "percent": 10, "users": [1]}, "has no users"),
    ],
)
def test_a_rollout_that_cannot_be_is_refused_with_what_is_allowed(document, reason):
    with pytest.raises(BadRollout, match=reason):
        rollout.wished(document, "salt", 0.0)


def test_only_flags_read_for_each_user_can_be_rolled_out():
    registry = Registry.load()
    with pytest.raises(BadRollout, match=r"db\.pool is the same for all users; what can be rolled out: users\.version"):
        registry.check_rollout("db.pool", "none")
    with pytest.raises(BadFlagValue, match="allowed: v1, v2"):
        registry.check_rollout(FLAG, "v9")
    with pytest.raises(UnknownFlag):
        registry.check_rollout("users.versoin", "v2")


# How it is kept


@pytest.fixture
def store(redis: Redis):
    return FlagStore(redis, Registry.load())


@pytest.fixture
def flags(redis: Redis):
    followed = Flags(Registry.load(), redis)
    yield followed
    followed.stop()


def test_a_rollout_reaches_a_process_that_listens_and_leaves_it_again(store, flags):
    flags.start()
    store.roll_out({FLAG: of(10, until=9e9)})
    eventually(lambda: flags.rollouts == {FLAG: of(10, until=9e9)})
    assert flags[FLAG] == "v1"
    store.roll_out({FLAG: None})
    eventually(lambda: flags.rollouts == {})


def test_a_rollout_and_other_flags_do_not_disturb_each_other(store, flags):
    store.roll_out({FLAG: of(10, until=9e9)})
    store.set({"cache.ttl": 7})
    flags.refresh()
    assert (flags["cache.ttl"], flags.rollouts[FLAG].percent) == (7.0, 10)
    assert store.given()[1] == {"cache.ttl": 7.0}


@pytest.mark.parametrize("value", ["v2", None])
def test_whoever_sets_or_resets_the_flag_ends_its_rollout_in_the_same_revision(store, flags, value):
    store.roll_out({FLAG: of(10, until=9e9)})
    revision = store.set({FLAG: value})
    flags.refresh()
    assert (flags.revision, flags[FLAG], flags.rollouts) == (revision, value or "v1", {})


def test_a_rollout_stays_while_redis_has_lost_it_and_until_its_time_is_over(redis, store, flags):
    store.roll_out({FLAG: of(100, until=1_000.0)})
    flags.refresh()
    redis.flushdb()
    flags.refresh()
    now = [999.0]
    features = Features(flags, lambda: now[0])
    assert features.decide(FLAG, 7) == Decision("v2", CANARY)
    now[0] = 1_000.0
    assert features.decide(FLAG, 7) == Decision("v1", "all")


def test_a_rollout_left_by_another_version_of_the_code_is_not_used(redis, store, flags):
    store.set({"cache.ttl": 7})
    left = ('{"value": "v9", "percent": 1, "salt": "s", "until": 9e9}', "{}", "[", '{"value": 1}', "7")
    for text in left:
        redis.hset(VALUES, ROLLOUT + FLAG, text)
        assert store.held()[2] == {}


def test_an_impossible_rollout_among_others_puts_none_in_force(store):
    with pytest.raises(BadRollout):
        store.roll_out({FLAG: of(10), "db.pool": of(10)})
    assert store.held() is None


# How a process decides


class Given:
    """Flags at their defaults, and one rollout or none."""

    def __init__(self, wish: Rollout | None = None) -> None:
        self.rollouts = {} if wish is None else {FLAG: wish}
        self._values = Registry.load().defaults()

    def __getitem__(self, name: str) -> object:
        return self._values[name]


@settings(max_examples=50)
@given(user=st.integers(1, 10**9), percent=PERCENTS)
def test_a_user_gets_what_his_group_gets(user, percent):
    wish = of(percent)
    decision = Features(Given(wish)).decide(FLAG, user)
    assert decision.group == wish.group(FLAG, str(user))
    assert decision.value == ("v2" if decision.group == CANARY else "v1")


def test_without_a_rollout_openfeature_is_not_asked(monkeypatch):
    features = Features(Given())
    monkeypatch.setattr(features, "_client", None)
    assert features.decide(FLAG, 7) == Decision("v1", "all")


@pytest.fixture
def client():
    """OpenFeature's own client over our provider, as any code would use it."""
    api.set_provider_and_wait(FlagProvider(Given(of(10)), lambda: 0.0), "tests")
    return api.get_client("tests")


def test_openfeature_says_which_group_a_user_is_in_and_why(client):
    users = {of(10).group(FLAG, user): user for user in USERS}
    found = {group: client.get_string_details(FLAG, "?", EvaluationContext(user)) for group, user in users.items()}
    assert {group: (one.value, one.variant, one.reason) for group, one in found.items()} == {
        CANARY: ("v2", CANARY, "SPLIT"),
        BASELINE: ("v1", BASELINE, "SPLIT"),
        REST: ("v1", REST, "SPLIT"),
    }
    assert found[CANARY].flag_metadata == {"percent": 10}


def test_openfeature_without_a_user_gives_what_the_flag_says(client):
    assert client.get_string_details(FLAG, "?").value == "v1"
    assert client.get_string_value("cache.strategy", "?", EvaluationContext("7")) == "off"
    assert client.get_float_value("tracing.sample", 9.0) == 0


def test_openfeature_refuses_unknown_flags_and_wrong_types(client):
    assert client.get_string_details("no.such", "default").error_code == ErrorCode.FLAG_NOT_FOUND
    found = client.get_integer_details("cache.strategy", 5)
    assert (found.value, found.error_code) == (5, ErrorCode.TYPE_MISMATCH)
