"""Client throttle (adaptive throttling): refuse at the caller the share of calls that the upstream would refuse anyway.

Each client counts, over the last two minutes, the calls it was asked for (requests) and those the upstream answered
well (accepts), and refuses a new one with the probability

    max(0, (requests - k * accepts) / (requests + 1))

Example: k = 2, 100 calls a second to an upstream that manages 20. Requests beyond twice what is accepted are refused:
the upstream gets 40 a second instead of 100, half of which succeed, and no process hangs in the other 60.

Trade-off: k = 1.1 wastes less on a failing upstream, but refuses early when it recovers; k = 2 tests it with as many
calls again as it accepts. Behind a total outage few calls are let through to notice its end (one in ``requests``),
until the outage has left the window.

Use instead: a circuit breaker when an upstream is either up or down, and its return must be noticed in seconds.

Units: seconds, counted in cells of one second; state per upstream and process. Refused calls count as requests; a
call counts when it ends, so calls in flight are not held against the upstream.
Source: SRE book, ch. 21, "Handling Overload", client-side throttling.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from costlab.service import metrics

WINDOW_SECONDS = 120


class Throttled(Exception):
    """The call was not made, because the upstream refuses most of them."""


def refusal_probability(requests: int, accepts: int, k: float) -> float:
    """The share of calls to refuse, 0 to 1."""
    return max(0.0, (requests - k * accepts) / (requests + 1))


class ClientThrottle:
    """Guards calls to one upstream. ``chance`` draws from [0, 1)."""

    def __init__(
        self,
        upstream: str,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._window = Window()
        self._lock = threading.Lock()
        self._refused = metrics.THROTTLE_REFUSED.labels(upstream)

    @contextmanager
    def guard(self, k: float, fair: bool = True) -> Iterator[None]:
        """Run a call inside; Throttled when it must not be made. A block that raises was not accepted.

        A call that is not ``fair``, because it gives the upstream too little time, is not counted.
        """
        with self._lock:
            refused = self._chance() < refusal_probability(*self._window.totals(self._clock()), k)
        accepted = False
        try:
            if refused:
                self._refused.inc()
                raise Throttled("most calls fail")
            yield
            accepted = True
        finally:
            if fair:
                with self._lock:
                    self._window.add(self._clock(), accepted)


class Window:
    """Requests and accepts of the last two minutes."""

    def __init__(self) -> None:
        self._cells: deque[list[int]] = deque()
        self._requests = 0
        self._accepts = 0

    def add(self, now: float, accepted: bool) -> None:
        """Count one request that ended at ``now``."""
        second = int(now)
        if not self._cells or self._cells[-1][0] < second:
            self._cells.append([second, 0, 0])
        self._cells[-1][1] += 1
        self._cells[-1][2] += accepted
        self._requests += 1
        self._accepts += accepted

    def totals(self, now: float) -> tuple[int, int]:
        """Requests and accepts; what is older than the window is forgotten."""
        oldest = int(now) - WINDOW_SECONDS
        while self._cells and self._cells[0][0] <= oldest:
            _, requests, accepts = self._cells.popleft()
            self._requests -= requests
            self._accepts -= accepts
        return self._requests, self._accepts
