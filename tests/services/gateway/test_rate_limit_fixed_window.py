"""The fixed window, beside the rules of test_rate_limit_rules.py."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.rate_limit import fixed_window
from gateway.rate_limit.quota import Quota
from tests.services.gateway.timeline import QUOTAS, START, TIMELINES, admitted, most_within


def test_around_an_edge_twice_the_limit_is_admitted():
    """The example of the module: 50 per 5 s; 100 in the 0.2 s around an edge, and not one more."""
    quota = Quota(10, 50)
    edge = START - START % quota.window + quota.window
    moments = [edge - 100_000] * 60 + [edge + 100_000] * 60
    assert most_within(admitted(fixed_window, quota, moments), 200_001) == 100


@given(QUOTAS, st.integers(START, START + 10**9))
def test_twice_the_limit_is_admitted_at_every_edge_of_every_quota(quota, moment):
    edge = moment - moment % quota.window + quota.window
    moments = [edge - 1] * (quota.burst + 1) + [edge] * (quota.burst + 1)
    assert len(admitted(fixed_window, quota, moments)) == 2 * quota.burst


@given(QUOTAS, TIMELINES)
def test_every_window_of_the_clock_admits_its_first_requests_up_to_the_limit(quota, moments):
    passed = admitted(fixed_window, quota, moments)
    for window in {now // quota.window for now in moments}:
        inside = [now for now in moments if now // quota.window == window]
        assert [now for now in passed if now // quota.window == window] == inside[: quota.burst]
