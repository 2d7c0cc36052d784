"""The token bucket, beside the rules of test_rate_limit_rules.py, against one that counts in fractions."""

from fractions import Fraction

from hypothesis import given

from gateway.rate_limit import token_bucket
from gateway.rate_limit.quota import Decision, Quota
from gateway.rate_limit.token_bucket import Bucket
from tests.services.gateway.timeline import QUOTAS, START, TIMELINES, admitted, replay


def test_an_empty_bucket_says_when_the_next_token_drips_in():
    """The example of the module: rate 10/s, burst 3."""
    assert replay(token_bucket, Quota(10, 3), [START] * 4) == [
        Decision(True, 2, 0, 100_000),
        Decision(True, 1, 0, 200_000),
        Decision(True, 0, 0, 300_000),
        Decision(False, 0, 100_000, 300_000),
    ]


@given(QUOTAS, TIMELINES)
def test_no_more_than_burst_plus_rate_times_t_is_ever_admitted(quota, moments):
    """From the first request on; between any two, see test_rate_limit_rules.py."""
    for count, now in enumerate(admitted(token_bucket, quota, moments), start=1):
        assert count <= quota.burst + Fraction(quota.rate) * Fraction(now - moments[0], 1_000_000)


@given(QUOTAS, TIMELINES)
def test_it_decides_as_a_bucket_of_real_tokens_does(quota, moments):
    """One token per interval, in fractions; the interval is the only thing that is rounded."""
    tokens, at = Fraction(quota.burst), moments[0]
    for now, decision in zip(moments, replay(token_bucket, quota, moments), strict=True):
        tokens, at = min(Fraction(quota.burst), tokens + Fraction(now - at, quota.interval)), now
        assert decision.admitted == (tokens >= 1)
        tokens -= decision.admitted


def test_a_clock_that_was_set_back_takes_no_token_and_gives_none():
    decision, after = token_bucket.decide(100_000, 3, Bucket(150_000, START + 3_600_000_000), START)
    assert (decision.admitted, after) == (True, Bucket(50_000, START))
