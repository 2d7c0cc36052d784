"""The sliding window, beside the rules of test_rate_limit_rules.py: its error, and its arithmetic."""

import secrets
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gateway.rate_limit import sliding_window
from gateway.rate_limit.limiter import SCRIPTS
from gateway.rate_limit.quota import Decision, Quota
from gateway.rate_limit.sliding_window import Counts
from tests.services.gateway.timeline import QUOTAS, START, TIMELINES, admitted, most_within, replay


def test_the_last_window_counts_by_the_share_of_it_that_is_covered():
    """The example of the module: 40 in the last window of 5 s, 12 in this one, 2 s old: 14 more."""
    quota = Quota(10, 50)
    start = START - START % quota.window
    decision, _ = sliding_window.decide(quota.interval, quota.burst, Counts(start, 40, 12), start + 2_000_000)
    assert (decision.admitted, decision.remaining) == (True, 13)


def test_around_an_edge_nothing_is_doubled():
    """Where a fixed window of 50 per 5 s admits 100 in 0.2 s, this one admits 51: 50, and 0.1 s of the rate."""
    quota = Quota(10, 50)
    edge = START - START % quota.window + quota.window
    moments = [edge - 100_000] * 60 + [edge + 100_000] * 60
    assert most_within(admitted(sliding_window, quota, moments), 200_001) == 51


def test_its_worst_case_is_almost_twice_the_limit_in_a_window_but_at_no_more_than_the_rate():
    """All of the last window's requests at its end, then as many as are admitted: 50 + 49 within 5 s."""
    quota = Quota(10, 50)
    edge = START - START % quota.window + quota.window
    moments = [edge - 1] * 50 + [edge + step * 10_000 for step in range(500)]
    assert most_within(admitted(sliding_window, quota, moments), quota.window) == 99


@given(QUOTAS, TIMELINES)
def test_a_window_admits_too_many_by_at_most_the_share_of_the_last_one_taken_as_gone(quota, moments):
    """The error bound: the true count of the window before a request is at most limit + last · elapsed/window."""
    passed = admitted(sliding_window, quota, moments)
    for now in passed:
        start = now - now % quota.window
        held = sum(now - quota.window < moment <= now for moment in passed if moment <= now)
        last = sum(start - quota.window <= moment < start for moment in passed)
        assert held <= quota.burst + Fraction(last * (now - start), quota.window)


@given(QUOTAS, TIMELINES)
def test_a_request_is_refused_exactly_when_the_weighed_count_leaves_no_room(quota, moments):
    """The textbook formula, in fractions: last · (1 - elapsed/window) + current + 1 <= limit."""
    passed: list[int] = []
    for now, decision in zip(moments, replay(sliding_window, quota, moments), strict=True):
        start = now - now % quota.window
        last = sum(start - quota.window <= moment < start for moment in passed)
        current = sum(moment >= start for moment in passed)
        weighed = last * (1 - Fraction(now - start, quota.window)) + current
        assert decision.admitted == (weighed + 1 <= quota.burst)
        if decision.admitted:
            passed.append(now)


@given(
    rate=st.sampled_from([0.1, 0.3, 7, 99_999]),
    burst=st.sampled_from([1, 99_991, 100_000]),
    shares=st.tuples(*[st.floats(0, 1)] * 3),
)
def test_the_lua_script_is_exact_with_the_largest_numbers_the_flags_allow(redis_client, rate, burst, shares):
    """Products of counts and windows reach 10^17, beyond what a Lua number holds; the script takes them apart."""
    quota, key = Quota(rate, burst), f"test:sliding_window:{secrets.token_hex(8)}"
    start = START - START % quota.window
    state = Counts(start, int(shares[0] * burst), int(shares[1] * burst))
    now = start + int(shares[2] * (quota.window - 1))
    redis_client.set(key, "{} {} {}".format(*state))
    answer = redis_client.register_script(SCRIPTS["sliding_window"])([key], [quota.interval, burst, now])
    redis_client.delete(key)
    expected, _ = sliding_window.decide(quota.interval, burst, state, now)
    assert Decision(answer[0] == 1, *answer[1:]) == expected
