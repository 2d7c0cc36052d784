"""GCRA as arithmetic, and the Lua script as the same arithmetic."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rate_limit.gcra import Decision, Quota, decide
from gateway.rate_limit.limiter import _SCRIPT

RATES = st.one_of(st.integers(1, 100_000), st.floats(0.1, 1000, allow_nan=False))
QUOTAS = st.builds(Quota, RATES, st.integers(1, 200))
# Microseconds between one request and the next; many at the same instant.
GAPS = st.lists(st.one_of(st.just(0), st.integers(0, 3_000_000), st.integers(0, 2_000)), min_size=1, max_size=200)
START = 1_700_000_000_000_000


def replay(quota, gaps):
    """The moments and decisions of requests that follow each other at ``gaps``."""
    tat, now, decisions = 0, START, []
    for gap in gaps:
        now += gap
        decision, tat = decide(quota.interval, quota.burst, tat, now)
        decisions.append((now, decision))
    return decisions


def test_a_burst_is_admitted_and_the_next_request_is_told_when_to_come_back():
    """The example of the module: rate 10/s, burst 3."""
    decisions = [decision for _, decision in replay(Quota(10, 3), [0, 0, 0, 0])]
    assert decisions == [
        Decision(True, 2, 0, 100_000),
        Decision(True, 1, 0, 200_000),
        Decision(True, 0, 0, 300_000),
        Decision(False, 0, 100_000, 300_000),
    ]


def test_a_debt_from_a_slower_quota_counts_as_one_full_burst_of_the_faster():
    """Turned from 1 per 10 s to 1,000/s, a client that had used its burst waits a millisecond, not minutes."""
    slow, fast = Quota(0.1, 20), Quota(1000, 1)
    tat = 0
    for _ in range(20):
        _, tat = decide(slow.interval, slow.burst, tat, START)
    refused, tat = decide(fast.interval, fast.burst, tat, START)
    assert (refused.admitted, refused.retry_after) == (False, 1000)
    assert decide(fast.interval, fast.burst, tat, START + 1000)[0].admitted


@given(QUOTAS, GAPS)
def test_no_window_of_t_seconds_admits_more_than_burst_plus_rate_times_t(quota, gaps):
    admitted = [now for now, decision in replay(quota, gaps) if decision.admitted]
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            seconds = (admitted[last] - admitted[first]) / 1e6
            assert last - first + 1 <= quota.burst + quota.rate * seconds + 1e-6


@given(QUOTAS, GAPS)
def test_who_waits_as_long_as_told_is_admitted_and_a_microsecond_less_is_too_early(quota, gaps):
    tat, now = 0, START
    for gap in gaps:
        now += gap
        decision, after = decide(quota.interval, quota.burst, tat, now)
        if not decision.admitted:
            later = now + decision.retry_after
            assert decide(quota.interval, quota.burst, tat, later)[0].admitted
            assert not decide(quota.interval, quota.burst, tat, later - 1)[0].admitted
        tat = after


@given(QUOTAS)
def test_the_full_burst_is_there_again_when_the_decision_says_so(quota):
    tat = 0
    for _ in range(quota.burst):
        decision, tat = decide(quota.interval, quota.burst, tat, START)
    later = START + decision.full_after
    admitted = 0
    for _ in range(quota.burst + 1):
        decision, tat = decide(quota.interval, quota.burst, tat, later)
        admitted += decision.admitted
    assert admitted == quota.burst


@given(QUOTAS, GAPS)
def test_remaining_is_the_number_that_would_be_admitted_at_once(quota, gaps):
    tat, now = 0, START
    for gap in gaps:
        now += gap
        decision, tat = decide(quota.interval, quota.burst, tat, now)
    admitted = 0
    while admitted <= quota.burst:
        more, tat = decide(quota.interval, quota.burst, tat, now)
        if not more.admitted:
            break
        admitted += 1
    assert admitted == decision.remaining


@pytest.fixture(scope="module")
def script(redis_client):
    return redis_client.register_script(_SCRIPT)


@given(quota=QUOTAS, gaps=GAPS)
def test_the_lua_script_decides_the_same_on_the_same_timeline(script, redis_client, quota, gaps):
    """Each step begins with the state of the last, because Redis forgets by a clock of its own. What the script
    makes of it shows in its answer: full_after is the new state less now."""
    key = f"test:gcra:{secrets.token_hex(8)}"
    tat, now = 0, START
    for gap in gaps:
        now += gap
        if tat:
            redis_client.set(key, tat)
        decision, tat = decide(quota.interval, quota.burst, tat, now)
        admitted, *rest = script([key], [quota.interval, quota.burst, now])
        assert Decision(admitted == 1, *rest) == decision
    redis_client.delete(key)


def test_the_lua_script_stores_the_state_to_the_last_digit(script, redis_client):
    key = f"test:gcra:{secrets.token_hex(8)}"
    script([key], [99_999_999, 3, START + 7])
    assert redis_client.get(key) == str(START + 7 + 99_999_999).encode()


def test_the_lua_script_keeps_the_smaller_debt_of_a_faster_quota_when_it_refuses(script, redis_client):
    key = f"test:gcra:{secrets.token_hex(8)}"
    redis_client.set(key, START + 200_000_000)
    assert script([key], [1000, 1, START]) == [0, 0, 1000, 1000]
    assert redis_client.get(key) == str(START + 1000).encode()


def test_the_state_of_a_client_is_gone_once_its_burst_is_back(script, redis_client):
    key = f"test:gcra:{secrets.token_hex(8)}"
    script([key], [100_000, 3, ""])
    assert 0 < redis_client.pttl(key) <= 100
