"""Round robin: each in turn."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from costlab.resilience.round_robin import RoundRobin


@given(st.integers(1, 8), st.integers(0, 200))
def test_no_candidate_is_ever_more_than_one_turn_ahead_of_another(candidates, turns):
    policy = RoundRobin()
    picked = Counter(dict.fromkeys(range(candidates), 0))
    picked.update(policy.pick(range(candidates)) for _ in range(turns))
    assert max(picked.values()) - min(picked.values()) <= 1
