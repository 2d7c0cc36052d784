"""CoDel (controlled delay): a queue that may take up a burst, but may not stand.

A request may wait INTERVAL (100 ms) as long as the queue has been drained within the last INTERVAL, and only TARGET
(5 ms) when it has not; who waits longer is shed.

Example: 20 requests come at once, 4 may be in flight, each takes 5 ms: the last waits 20 ms, all are answered.
Requests keep coming at twice the capacity: a bounded queue of 1,000 would be full from then on and every answer more
than a second late. Here, after 100 ms without an empty queue, nobody waits more than 5 ms: half are shed, and the
other half are answered in 10 ms.

Trade-off: it notices overload after 100 ms, not at once; and a limit on who is in flight is still needed, because
without one there is no queue. A request that waits holds a thread of the gateway: no more of them can wait than it
has threads beyond the limit; the others wait unseen in their connections.

Use instead: adaptive LIFO when clients give up early; a fixed limit when clients can come back at once.

Drained means that somebody was served and nobody was left, or that a request found room at once. A queue that is
empty because its last was shed has not been drained.

Units: seconds. Source: Maurer, "Fail at Scale", ACM Queue 13(8), 2015 (M = 5 ms, N = 100 ms); Nichols, Jacobson,
"Controlling Queue Delay", ACM Queue 10(5), 2012.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

TARGET = 0.005
INTERVAL = 0.1

Item = TypeVar("Item")


class CoDelQueue(Generic[Item]):
    """Items that wait. The time is passed in; whoever is shed leaves with ``remove``."""

    def __init__(self) -> None:
        self._until: OrderedDict[Item, float] = OrderedDict()
        self._drained = True
        self._drained_at = 0.0

    def __len__(self) -> int:
        return len(self._until)

    def push(self, item: Item, now: float) -> float:
        """``item`` waits from now on. The moment until which it may."""
        if not self._until and self._drained:
            self._drained_at = now
        until = self._until[item] = now + (TARGET if self.standing(now) else INTERVAL)
        self._drained = False
        return until

    def standing(self, now: float) -> bool:
        """Whether the queue, as it is, has not been drained for INTERVAL."""
        return not self._drained and now - self._drained_at >= INTERVAL

    def oldest(self, now: float) -> Item | None:
        """Take out who has waited longest, and may still wait; None when there is nobody."""
        return self._take(now, last=False)

    def newest(self, now: float) -> Item | None:
        """Take out who came last, and may still wait; None when there is nobody."""
        return self._take(now, last=True)

    def remove(self, item: Item) -> None:
        """``item`` has given up, or is shed."""
        self._until.pop(item, None)

    def passed(self) -> None:
        """A request found room without waiting."""
        self._drained = not self._until

    def _take(self, now: float, last: bool) -> Item | None:
        while self._until:
            item, until = self._until.popitem(last)
            if now < until:
                self._drained = not self._until
                return item
        return None
