"""Load shedding at the gateway's edge: threads, flags and metrics around the arithmetic of the files beside it.

    fixed, gradient2        room? ─► upstream          no room ─► 503
    codel, adaptive_lifo    room? ─► upstream          no room ─► wait for it ─► upstream, or 503

A request has room while fewer than the limit are between the gateway and its upstreams: ``gateway.shed_limit`` per
gateway process, or what gradient2 found. Whoever leaves gives its room to one who waits. Nobody waits beyond its
deadline. Requests that came in while the flag was off are not counted.
"""

import threading
import time
from collections.abc import Callable

from costlab.service import context, metrics, problem
from costlab.service.flags import Flags
from costlab.service.http_client import Answer
from gateway.shed import adaptive_lifo
from gateway.shed.codel import CoDelQueue
from gateway.shed.fixed import ConcurrencyLimit
from gateway.shed.gradient2 import Gradient2

RETRY_AFTER = "1"
# Who is next, where requests wait.
_NEXT = {"codel": CoDelQueue.oldest, "adaptive_lifo": adaptive_lifo.take}


class _Waiter:
    """A request that waits; ``admitted`` is set once it has room."""

    def __init__(self) -> None:
        self.admitted = threading.Event()


class Shedder:
    """Runs calls while there is room for them, by the flags ``gateway.shed`` and ``gateway.shed_limit``."""

    def __init__(self, flags: Flags, clock: Callable[[], float] = time.monotonic) -> None:
        self._flags = flags
        self._clock = clock
        self._lock = threading.Lock()
        self._room = ConcurrencyLimit()
        self._queue: CoDelQueue[_Waiter] = CoDelQueue()
        self._gradient = Gradient2()
        self._policy = "off"
        self._outcomes = metrics.Children(metrics.SHED_REQUESTS)
        flags.on_change(self._changed)

    def run(self, policy: str, call: Callable[[], Answer]) -> Answer:
        """What ``call`` gives or raises; Unavailable when there is no room for it."""
        self._enter(policy)
        started = self._clock()
        telling = False  # whether the time it took says anything: a connection refused at once does not
        try:
            answer = call()
            telling = answer.status < 500
        except problem.GatewayTimeout:
            telling = True
            raise
        finally:
            self._leave(policy, self._clock() - started if telling else None)
        if 200 <= answer.status < 300 and self._left() > 0:
            metrics.GOODPUT.inc()
        return answer

    def _enter(self, policy: str) -> None:
        with self._lock:
            admitted, waiter, until = self._admit(policy)
        if waiter is not None:
            admitted = self._wait(waiter, until)
        self._outcomes[policy, "admitted" if admitted else "shed"].inc()
        if not admitted:
            raise problem.Unavailable(
                "The gateway has as many requests under way as it can answer in time.",
                headers={"Retry-After": RETRY_AFTER},
            )

    def _admit(self, policy: str) -> tuple[bool, _Waiter | None, float]:
        queueing = policy in _NEXT
        if not (queueing and self._queue) and self._room.enter(self._limit(policy)):
            self._queue.passed()
            return True, None, 0.0
        if not queueing:
            return False, None, 0.0
        waiter, now = _Waiter(), self._clock()
        until = self._queue.push(waiter, now)
        self._hand_over(policy)  # the limit may have grown
        return False, waiter, min(until, now + self._left())

    def _wait(self, waiter: _Waiter, until: float) -> bool:
        """Whether ``waiter`` got room in time."""
        started = self._clock()
        waiter.admitted.wait(max(0.0, until - started))
        with self._lock:
            admitted = waiter.admitted.is_set()
            if not admitted:
                self._queue.remove(waiter)
        metrics.SHED_QUEUE_SECONDS.observe(self._clock() - started)
        return admitted

    def _leave(self, policy: str, seconds: float | None) -> None:
        with self._lock:
            if seconds is not None and policy == "gradient2":
                self._gradient.sample(seconds, self._room.in_flight, self._clock())
                metrics.SHED_LIMIT.set(self._gradient.limit)
            self._room.leave()
            if self._queue:
                self._hand_over(self._flags["gateway.shed"])

    def _hand_over(self, policy: str) -> None:
        """Give what room there is to those who wait."""
        take = _NEXT.get(policy, CoDelQueue.oldest)
        limit = self._limit(policy)
        while self._queue and self._room.enter(limit):
            waiter = take(self._queue, self._clock())
            if waiter is None:
                self._room.leave()
            else:
                waiter.admitted.set()

    def _limit(self, policy: str) -> int:
        return self._gradient.limit if policy == "gradient2" else self._flags["gateway.shed_limit"]

    def _left(self) -> float:
        left = context.remaining()
        return float("inf") if left is None else left

    def _changed(self) -> None:
        """Show the limit in force; gradient2 begins afresh when it is switched on."""
        with self._lock:
            before, self._policy = self._policy, self._flags["gateway.shed"]
            if self._policy == "gradient2" != before:
                self._gradient = Gradient2()
            metrics.SHED_LIMIT.set(0 if self._policy == "off" else self._limit(self._policy))
