"""Round robin: each in turn.

Example: three replicas and 900 requests: 300 each, whatever the requests are. Random choice would give 300 plus or
minus 28 (two standard deviations).

Trade-off: it counts requests, not work. A replica that takes three times as long as the others gets as many as they
do, so a third of all requests waits in its queue.

Use instead: least_inflight or two_choices, which see a slow replica by what is still under way there.

Units: requests, per client and process. Source: Nagle, "On Packet Switches With Infinite Storage", RFC 970 (1985).
"""

from collections.abc import Sequence
from itertools import count
from typing import TypeVar

Candidate = TypeVar("Candidate")


class RoundRobin:
    """Picks from ``candidates`` in turn; several threads may ask."""

    def __init__(self) -> None:
        self._turns = count()

    def pick(self, candidates: Sequence[Candidate]) -> Candidate:
        """The next of ``candidates``, which may be others than last time."""
        return candidates[next(self._turns) % len(candidates)]
