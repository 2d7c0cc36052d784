"""What every rate limit owes its clients, whatever the algorithm, and that its Lua script decides the same."""

import re
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab.service.flags import Registry
from gateway.rate_limit import limiter
from gateway.rate_limit.quota import Decision, Quota
from tests.services.gateway.timeline import (
    ALGORITHMS,
    QUOTAS,
    START,
    TIMELINES,
    WAITS,
    admitted,
    moments_of,
    most_within,
    replay,
    state_after,
)

EACH = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
# All but the fixed window, whose rule about its edges is in test_rate_limit_fixed_window.py.
EVEN = pytest.mark.parametrize(
    "algorithm", [module for name, module in ALGORITHMS.items() if name != "fixed_window"], ids=lambda m: m.__name__
)


def at_once(algorithm, quota, state, now, most):
    """How many of ``most`` requests at ``now`` are admitted."""
    count = 0
    for _ in range(most):
        decision, state = algorithm.decide(quota.interval, quota.burst, state, now)
        count += decision.admitted
    return count


def test_the_flag_the_scripts_and_the_algorithms_have_the_same_names():
    assert set(Registry.load()["gateway.rate_limit"].values) - {"off"} == set(limiter.ALGORITHMS) == set(ALGORITHMS)


@EACH
@given(quota=QUOTAS, now=st.integers(START, START + 10**9))
def test_a_client_not_seen_before_is_admitted_as_often_as_the_burst(algorithm, quota, now):
    assert at_once(algorithm, quota, algorithm.NEW, now, quota.burst + 2) == quota.burst


@EVEN
@given(quota=QUOTAS, moments=TIMELINES)
def test_no_stretch_of_t_seconds_admits_more_than_burst_plus_rate_times_t(algorithm, quota, moments):
    passed = admitted(algorithm, quota, moments)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            assert (last - first + 1 - quota.burst) * quota.interval <= passed[last] - passed[first]


@EACH
@given(quota=QUOTAS, moments=TIMELINES)
def test_no_window_admits_more_than_twice_the_limit(algorithm, quota, moments):
    assert most_within(admitted(algorithm, quota, moments), quota.window) <= 2 * quota.burst


@EACH
@given(quota=QUOTAS, moments=TIMELINES)
def test_who_waits_as_long_as_told_is_admitted_and_a_microsecond_less_is_too_early(algorithm, quota, moments):
    state = algorithm.NEW
    for now in moments:
        decision, state = algorithm.decide(quota.interval, quota.burst, state, now)
        if not decision.admitted:
            assert decision.remaining == 0
            later = now + decision.retry_after
            assert algorithm.decide(quota.interval, quota.burst, state, later)[0].admitted
            assert not algorithm.decide(quota.interval, quota.burst, state, later - 1)[0].admitted


@EACH
@given(quota=QUOTAS, moments=TIMELINES)
def test_remaining_is_the_number_that_would_be_admitted_at_once(algorithm, quota, moments):
    decision = replay(algorithm, quota, moments)[-1]
    state = state_after(algorithm, quota, moments)
    assert at_once(algorithm, quota, state, moments[-1], quota.burst + 1) == decision.remaining


@EACH
@given(quota=QUOTAS, moments=TIMELINES)
def test_the_full_burst_is_there_again_when_the_decision_says_so_and_not_before(algorithm, quota, moments):
    decision = replay(algorithm, quota, moments)[-1]
    state = state_after(algorithm, quota, moments)
    later = moments[-1] + decision.full_after
    assert at_once(algorithm, quota, state, later, quota.burst + 1) == quota.burst
    assert at_once(algorithm, quota, state, later - 1, quota.burst) < quota.burst


@pytest.fixture(scope="module", params=ALGORITHMS)
def named(request):
    """An algorithm's Python form, and its script as Redis runs it, but forgetting an hour later: keys expire by the
    clock of Redis, not by the test's timeline, and one of a millisecond can be gone before the script ends."""
    text, expiries = re.subn(r"('PX', |'PEXPIRE', KEYS\[1\], )", r"\g<1>3600000 + ", limiter.SCRIPTS[request.param])
    assert expiries == 1
    return ALGORITHMS[request.param], text


@given(quota=st.builds(Quota, st.integers(1, 100_000), st.integers(1, 8)), waits=WAITS)
def test_the_lua_script_decides_the_same_on_the_same_timeline(named, redis_client, quota, waits):
    algorithm, text = named
    moments = moments_of(algorithm, quota, waits)
    key = f"test:rate_limit:{secrets.token_hex(8)}"
    script = redis_client.register_script(text)
    with redis_client.pipeline(transaction=False) as pipe:
        for now in moments:
            script([key], [quota.interval, quota.burst, now], client=pipe)
        answers = pipe.execute()
    redis_client.delete(key)
    assert [Decision(answer[0] == 1, *answer[1:]) for answer in answers] == replay(algorithm, quota, moments)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_client_is_forgotten_once_its_full_burst_is_back(name, redis_client):
    """By Redis's own clock, which counts whole milliseconds at either end."""
    key, quota = f"test:rate_limit:{secrets.token_hex(8)}", Quota(10, 3)
    script = redis_client.register_script(limiter.SCRIPTS[name])
    for _ in range(5):
        full_after = script([key], [quota.interval, quota.burst, ""])[3]
        left = redis_client.pttl(key)  # -1: it never expires; -2: it is gone already
        assert left != -1
        assert left <= full_after // 1000 + 2


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_script_goes_by_the_clock_of_redis(name, redis_client):
    """What it stores at two moments of its own clock differs by no more than the time between."""
    key, quota = f"test:rate_limit:{secrets.token_hex(8)}", Quota(0.1, 100_000)
    script = redis_client.register_script(limiter.SCRIPTS[name])
    script([key], [quota.interval, quota.burst, ""])
    seconds, microseconds = redis_client.time()
    now = seconds * 1_000_000 + microseconds
    by_now = script([key], [quota.interval, quota.burst, now])
    assert by_now[:3] == [1, quota.burst - 2, 0]
