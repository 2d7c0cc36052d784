"""Slot pool: a bottleneck of known capacity. n slots, each held for exactly s seconds; who finds none waits, in order.

Example: 4 slots of 20 ms serve 4 / 0.02 = 200 requests per second, on a laptop and on a large server alike. At 100
per second hardly anybody waits; at 250 the queue grows by 50 every second, until those in it leave at their deadlines.
That is what an experiment about queues needs: the knee lies where it was put, while hops, sockets and timeouts stay
real.

Trade-off: the capacity is exact because it goes by the schedule, not by the sleeping: who wakes 2 ms late holds no
slot in those 2 ms, and whoever follows began when the slot came free. The work behind the pool comes on top, so s
must be well above it, and n below the threads of the process, or the threads are the bottleneck.

Use instead: a bulkhead (a plain semaphore), to protect a resource that exists; this one makes a resource up.

It does nothing clever: first come, first served; nobody is refused before the deadline, and a slot is held to its end
even when nobody waits for the answer any more. That is left to what is on trial.

Units: seconds on a monotonic clock; requests per second and process. Source: Kleinrock, "Queueing Systems", vol. 1
(the queue G/D/n); Nygard, "Release It!", bulkheads.
"""

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from threading import Event


@dataclass(eq=False, slots=True)
class Turn:
    """A request's place: it waits until ``admitted``, then holds a slot from ``start`` to ``end``."""

    arrived: float
    deadline: float = math.inf
    start: float = 0
    end: float = 0
    admitted: Event = field(default_factory=Event)


class SlotPool:
    """``slots`` slots of ``seconds`` each; without slots there is no pool, and everybody passes.

    The time is passed in and never runs backwards. Not for several threads at once without a lock.
    """

    def __init__(self, slots: int = 0, seconds: float = 0) -> None:
        self._seconds = seconds
        # When each slot comes free, or came; the earliest first.
        self._free = [-math.inf] * slots
        self._waiting: deque[Turn] = deque()

    def resize(self, slots: int, seconds: float, now: float) -> None:
        """From ``now`` on: those inside stay to their end, those who wait keep their order."""
        self._seconds = seconds
        # The slots that are busy longest stay: nobody enters before fewer than ``slots`` are inside.
        self._free = heapq.nlargest(slots, self._free)
        self._free += [now] * (slots - len(self._free))
        heapq.heapify(self._free)
        self.advance(now)

    def arrive(self, now: float, deadline: float = math.inf) -> Turn:
        """Join the end of the queue; admitted at once when a slot is free."""
        turn = Turn(now, deadline)
        self._waiting.append(turn)
        self.advance(now)
        return turn

    def withdraw(self, turn: Turn) -> bool:
        """Leave the queue; False when the turn came first."""
        if turn.admitted.is_set():
            return False
        if turn in self._waiting:
            self._waiting.remove(turn)
        return True

    def advance(self, now: float) -> None:
        """Admit whoever's turn has come by ``now``, each from when the slot came free."""
        while self._waiting and (not self._free or self._free[0] <= now):
            turn = self._waiting.popleft()
            start = max(self._free[0], turn.arrived) if self._free else now
            if start > turn.deadline:
                continue  # it has left before
            turn.start, turn.end = start, start
            if self._free:
                turn.end = start + self._seconds
                heapq.heapreplace(self._free, turn.end)
            turn.admitted.set()

    def in_use(self, now: float) -> int:
        """How many slots are held."""
        return sum(free > now for free in self._free)
