"""Timelines of requests for the tests of rate limits, with a clock of their own."""

from itertools import accumulate

from hypothesis import strategies as st

from gateway.rate_limit import fixed_window, gcra, sliding_log, sliding_window, token_bucket
from gateway.rate_limit.quota import Quota

ALGORITHMS = {
    "fixed_window": fixed_window,
    "sliding_window": sliding_window,
    "sliding_log": sliding_log,
    "token_bucket": token_bucket,
    "gcra": gcra,
}
START = 1_700_000_000_000_000
RATES = st.one_of(st.integers(1, 100_000), st.floats(0.1, 1000, allow_nan=False))
QUOTAS = st.builds(Quota, RATES, st.integers(1, 30))
LARGEST = st.builds(Quota, st.sampled_from([0.1, 0.3, 7, 99_999, 100_000]), st.sampled_from([1, 99_999, 100_000]))
# Microseconds from one request to the next: many at once, many close together, some far apart.
GAPS = st.lists(
    st.one_of(st.just(0), st.integers(0, 2_000), st.integers(0, 100_000), st.integers(0, 3_000_000)),
    min_size=1,
    max_size=150,
)
TIMELINES = GAPS.map(lambda gaps: [START + moment for moment in accumulate(gaps)])


def replay(algorithm, quota, moments):
    """The decisions on requests at ``moments``, by a client not seen before."""
    state, decisions = algorithm.NEW, []
    for now in moments:
        decision, state = algorithm.decide(quota.interval, quota.burst, state, now)
        decisions.append(decision)
    return decisions


def state_after(algorithm, quota, moments):
    """A client's state after requests at ``moments``."""
    state = algorithm.NEW
    for now in moments:
        _, state = algorithm.decide(quota.interval, quota.burst, state, now)
    return state


def admitted(algorithm, quota, moments):
    """The moments of those requests that were admitted."""
    return [now for now, decision in zip(moments, replay(algorithm, quota, moments), strict=True) if decision.admitted]


def most_within(moments, window):
    """The largest number of ``moments`` in any stretch as long as ``window``, one of its ends not included."""
    first, most = 0, 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - window:
            first += 1
        most = max(most, last - first + 1)
    return most
