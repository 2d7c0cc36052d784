"""The sliding log, beside the rules of test_rate_limit_rules.py."""

from hypothesis import given

from gateway.rate_limit import sliding_log
from gateway.rate_limit.quota import Quota
from tests.services.gateway.timeline import QUOTAS, START, TIMELINES, admitted, most_within, replay


def test_the_next_request_is_admitted_when_the_first_leaves_the_log():
    """The example of the module: 50 in any 5 s, 50 of them between seconds 0 and 1."""
    quota = Quota(10, 50)
    first = [START + 20_000 * number for number in range(50)]
    decisions = replay(sliding_log, quota, [*first, START + 1_000_000])
    assert all(decision.admitted for decision in decisions[:50])
    assert (decisions[50].admitted, decisions[50].retry_after) == (False, 4_000_000)


@given(QUOTAS, TIMELINES)
def test_a_request_is_refused_exactly_when_the_limit_was_admitted_in_the_window_before_it(quota, moments):
    passed: list[int] = []
    for now, decision in zip(moments, replay(sliding_log, quota, moments), strict=True):
        held = sum(moment > now - quota.window for moment in passed)
        assert decision.admitted == (held < quota.burst)
        if decision.admitted:
            passed.append(now)


@given(QUOTAS, TIMELINES)
def test_no_window_wherever_it_begins_admits_more_than_the_limit(quota, moments):
    assert most_within(admitted(sliding_log, quota, moments), quota.window) <= quota.burst


@given(QUOTAS)
def test_a_client_that_never_stops_gets_exactly_the_limit_in_every_window(quota):
    moments = [START + step * quota.interval // 2 for step in range(8 * quota.burst)]
    passed = admitted(sliding_log, quota, moments)
    for begin in range(0, 3 * quota.window, quota.interval):
        inside = [now for now in passed if START + begin <= now < START + begin + quota.window]
        assert len(inside) == quota.burst
