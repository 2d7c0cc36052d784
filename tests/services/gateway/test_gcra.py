"""GCRA, beside the rules of test_rate_limit_rules.py."""

import secrets

import pytest
from hypothesis import given

from gateway.rate_limit import gcra, token_bucket
from gateway.rate_limit.gcra import decide
from gateway.rate_limit.limiter import SCRIPTS
from gateway.rate_limit.quota import Decision, Quota
from tests.services.gateway.timeline import QUOTAS, START, TIMELINES, replay


def test_a_burst_is_admitted_and_the_next_request_is_told_when_to_come_back():
    """The example of the module: rate 10/s, burst 3."""
    decisions = replay(gcra, Quota(10, 3), [START] * 4)
    assert decisions == [
        Decision(True, 2, 0, 100_000),
        Decision(True, 1, 0, 200_000),
        Decision(True, 0, 0, 300_000),
        Decision(False, 0, 100_000, 300_000),
    ]


def test_a_debt_from_before_the_clock_was_set_back_counts_as_one_full_burst():
    """Set back by an hour, nobody waits an hour."""
    refused, tat = decide(1000, 1, START + 3_600_000_000, START)
    assert (refused.admitted, refused.retry_after) == (False, 1000)
    assert decide(1000, 1, tat, START + 1000)[0].admitted


@pytest.fixture(scope="module")
def script(redis_client):
    return redis_client.register_script(SCRIPTS["gcra"])


@given(QUOTAS, TIMELINES)
def test_gcra_is_the_token_bucket_decision_for_decision(quota, moments):
    """Same quota, same timeline: admitted, remaining and both times agree to the microsecond, no rounding between."""
    assert replay(gcra, quota, moments) == replay(token_bucket, quota, moments)


def test_the_lua_script_stores_the_state_to_the_last_digit(script, redis_client):
    key = f"test:gcra:{secrets.token_hex(8)}"
    script([key], [99_999_999, 3, START + 7])
    assert redis_client.get(key) == str(START + 7 + 99_999_999).encode()


def test_the_lua_script_keeps_the_smaller_debt_when_it_refuses(script, redis_client):
    key = f"test:gcra:{secrets.token_hex(8)}"
    redis_client.set(key, START + 200_000_000)
    assert script([key], [10_000_000, 1, START]) == [0, 0, 10_000_000, 10_000_000]
    assert redis_client.get(key) == str(START + 10_000_000).encode()
