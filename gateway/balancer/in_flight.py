"""How many requests are under way to each replica, now or as it was some seconds ago.

Example: with an age of 1 s, a replica to which 5 requests went in the last second and from which none came back counts
as idle. That is what a balancer sees whose counts are collected and sent round once in a while.

Trade-off: these are the counts of one gateway process. Two processes, or two gateways, do not see each other's
requests; that is cheap, and wrong by as much as there are others.

Use instead: counts that replicas report themselves with their answers, where many balancers share few replicas.

Units: requests; ``age`` in seconds. Source: Mitzenmacher, "How Useful Is Old Information?" (2000), constant delay.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Count:
    """``before`` is what held until the first of ``changes`` (when, and the count from then on)."""

    now: int = 0
    before: int = 0
    changes: deque[tuple[float, int]] = field(default_factory=deque)


class InFlight:
    """Counts by name. History is kept as long as ``age`` asks for, and not at all while it is 0."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: dict[str, _Count] = {}
        self._lock = threading.Lock()

    def began(self, name: str, age: float) -> None:
        """A request is on its way to ``name``."""
        self._change(name, +1, age)

    def ended(self, name: str, age: float) -> None:
        """It is over."""
        self._change(name, -1, age)

    def count(self, name: str, age: float) -> int:
        """How many were under way to ``name`` ``age`` seconds ago."""
        with self._lock:
            count = self._counts.get(name)
            if count is None:
                return 0
            if not age:
                return count.now
            _forget(count, self._clock() - age)
            return count.before

    def _change(self, name: str, by: int, age: float) -> None:
        with self._lock:
            count = self._counts.setdefault(name, _Count())
            count.now += by
            if age:
                now = self._clock()
                count.changes.append((now, count.now))
                _forget(count, now - age)
            else:
                count.changes.clear()
                count.before = count.now


def _forget(count: _Count, until: float) -> None:
    while count.changes and count.changes[0][0] <= until:
        count.before = count.changes.popleft()[1]
