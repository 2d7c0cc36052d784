"""Random: any of them, each as likely as the others.

Example: 3 replicas and 900 requests: 300 each, plus or minus 28 (two standard deviations). Over a short time it is far
less even: of 3 requests at once, 2 or 3 meet on one replica in 78 % of cases, and wait for each other there.

Trade-off: it needs no state, so any number of gateways do it without knowing of each other; the price is those
collisions. With n requests on n servers the fullest has about log n / log log n.

Use instead: two_choices, whose fullest has log log n for one more look; round_robin for even numbers.

Units: requests. Source: Azar et al., "Balanced Allocations" (1994), the case of one choice.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

Candidate = TypeVar("Candidate")


def pick(candidates: Sequence[Candidate], random: Random) -> Candidate:
    """One of ``candidates``."""
    return random.choice(candidates)
