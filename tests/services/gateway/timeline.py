"""Timelines of requests for the tests of rate limits, with a clock of their own."""

from itertools import accumulate

from hypothesis import strategies as st

from gateway.rate_limit import fixed_window, gcra, sliding_log, sliding_window, token_bucket
from gateway.rate_limit.quota import Decision, Quota

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
# Microseconds from one request to the next: many at once, many close together, some far apart.
GAPS = st.lists(
    st.one_of(st.just(0), st.integers(0, 2_000), st.integers(0, 100_000), st.integers(0, 3_000_000)),
    min_size=1,
    max_size=150,
)
TIMELINES = GAPS.map(lambda gaps: [START + moment for moment in accumulate(gaps)])
# What to wait for before the next request: so many microseconds, or what the last decision said, or just less.
WAITS = st.lists(
    st.one_of(
        st.integers(0, 2_000),
        st.integers(0, 1_000_000),
        st.just(0),
        st.sampled_from(["retry_after", "full_after", "just before retry_after", "just before full_after"]),
    ),
    min_size=1,
    max_size=80,
)


def moments_of(algorithm, quota, waits):
    """The moments of requests that follow each other after ``waits``."""
    state, now, moments = algorithm.NEW, START, []
    decision = Decision(admitted=True, remaining=0, retry_after=0, full_after=0)
    for wait in waits:
        if isinstance(wait, int):
            now += wait
        else:
            told = getattr(decision, wait.removeprefix("just before "))
            now += max(0, told - wait.startswith("just"))
        decision, state = algorithm.decide(quota.interval, quota.burst, state, now)
        moments.append(now)
    return moments


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
