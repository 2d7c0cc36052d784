"""Least in flight: the replica with the fewest requests under way; among equals any.

Example: three replicas answer in 10, 10 and 50 ms. At 100 requests a second round robin gives each a third, so a third
of all answers take 50 ms or more. Once all have requests under way, the slow one gets 1 request in 11, as many as it
can answer beside the others.

Trade-off: it needs to look at all of them, and the counts are those of one gateway process. When the counts are old
(``gateway.balancer_staleness``), everybody sees the same minimum and goes there at once, until the next count: worse
than random. A replica that fails at once is the one with the fewest under way, and draws all requests (ejection is
what keeps it from that).

Use instead: two_choices, nearly as even, and calm where counts are old.

Units: requests under way. Source: Mitzenmacher, "How Useful Is Old Information?" (2000).
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

Candidate = TypeVar("Candidate")


def pick(candidates: Sequence[Candidate], load: Callable[[Candidate], int], random: Random) -> Candidate:
    """One of those ``candidates`` whose ``load`` is least."""
    loads = [load(candidate) for candidate in candidates]
    least = min(loads)
    return random.choice([candidate for candidate, found in zip(candidates, loads, strict=True) if found == least])
