"""The slot pool in front of a service's own routes: requests wait here for their turn, sleep while they hold a slot,
and then do their real work. Health, metrics and flags pass by it.

    service.slots("orders.slots", "orders.slot_ms")

Each worker process has a pool of its own, so a service of p processes serves p x n / s requests per second.
"""

import threading
import time

from flask import Flask, request

from costlab.resilience.slot_pool import SlotPool
from costlab.service import context, health, metrics
from costlab.service.fault_kinds import capacity_cut
from costlab.service.flags import Flags
from costlab.service.problem import Unavailable

# How long a request that came without a deadline waits.
LONGEST_WAIT_SECONDS = 10.0


class Slots:
    """The pool that the flags ``slots`` (off, or how many) and ``milliseconds`` describe, followed live.

    It stands in front of ``app``'s routes only while the flag is on: off, a request does not even ask.
    """

    def __init__(self, app: Flask, flags: Flags, slots: str, milliseconds: str) -> None:
        self.flag = slots
        # What Flask calls before a request, read anew for each.
        self._asked = app.before_request_funcs.setdefault(None, [])
        self._flags = flags
        self._names = slots, milliseconds
        self._cuts: list[float] = []
        self.pool = SlotPool()
        self._lock = threading.Lock()
        self._size: tuple[int, float] = (0, 0.0)
        flags.on_change(self._follow)

    def hold(self) -> None:
        """Wait for a slot, hold it for its time, give it back. Unavailable when the deadline comes first."""
        now = time.monotonic()
        current = context.current()
        remaining = current.remaining(now) if current is not None else None
        wait = LONGEST_WAIT_SECONDS if remaining is None else remaining
        with self._lock:
            turn = self.pool.arrive(now, now + wait)
            self._record(now)
        if not turn.admitted.wait(wait):
            with self._lock:
                gone = self.pool.withdraw(turn)
            if gone:
                metrics.SLOTS_REFUSED.inc()
                raise Unavailable(f"No slot came free within {wait:.3f} s.", headers={"Retry-After": "1"})
        metrics.SLOT_WAIT_SECONDS.observe(turn.start - turn.arrived)
        time.sleep(max(0.0, turn.end - time.monotonic()))
        with self._lock:
            now = time.monotonic()
            self.pool.advance(now)
            self._record(now)

    def wanted(self) -> int:
        """The slots the flag asks for; 0 while the pool is off."""
        slots = self._flags[self.flag]
        return 0 if slots == "off" else slots

    def cut(self, share: float) -> None:
        """Take ``share`` of the slots away (the fault capacity_cut)."""
        with self._lock:
            self._cuts.append(share)
            self._resize()

    def restore(self, share: float) -> None:
        """Give back what a cut of ``share`` took."""
        with self._lock:
            self._cuts.remove(share)
            self._resize()

    def _follow(self) -> None:
        with self._lock:
            self._resize()

    def _resize(self) -> None:
        """Under the lock from the first look on: flags and faults change in threads of their own, and whoever looked
        first could write last."""
        wanted = self.wanted()
        self._stand(bool(wanted))
        size = (capacity_cut.left(wanted, self._cuts) if wanted else 0, self._flags[self._names[1]] / 1000)
        if size == self._size:
            return
        now = time.monotonic()
        self._size = size
        self.pool.resize(*size, now)
        self._record(now)

    def _stand(self, on: bool) -> None:
        """In front of the routes, or out of the way."""
        if on and self._take not in self._asked:
            self._asked.append(self._take)
        elif not on and self._take in self._asked:
            self._asked.remove(self._take)

    def _take(self) -> None:
        if request.blueprint not in (None, health.NAME):
            self.hold()

    def _record(self, now: float) -> None:
        metrics.SLOTS_IN_USE.set(self.pool.in_use(now))
