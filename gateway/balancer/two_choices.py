"""Two choices: draw two replicas at random, and take the one with fewer requests under way.

Example: 100 requests thrown on 100 servers at random: the fullest gets about 4 or 5. With two choices each it gets 2
or 3, and with a million of each, 4 instead of 9: the step from one choice to two is exponential, a third choice adds
a constant only.

Trade-off: of three replicas it does not look at the best one in a third of cases; least_inflight always does. In
return nobody's minimum draws everybody: where counts are old, a third of the requests still goes elsewhere.

Use instead: least_inflight with few replicas and fresh counts.

Units: requests under way. Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001).
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

Candidate = TypeVar("Candidate")


def pick(candidates: Sequence[Candidate], load: Callable[[Candidate], int], random: Random) -> Candidate:
    """Of two ``candidates`` the one with less ``load``, the first one drawn when they are equal."""
    if len(candidates) == 1:
        return candidates[0]
    first, second = random.sample(candidates, 2)
    return second if load(second) < load(first) else first
