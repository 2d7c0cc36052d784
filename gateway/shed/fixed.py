"""Fixed concurrency limit: at most n requests in flight at once; one more is refused at once.

Example: users answers in 5 ms on 4 threads, so it does 800 requests a second with 4 in flight. With 40 in flight it
does 800 as well, but each takes 50 ms; at 400 in flight each takes 500 ms and clients with a deadline of 300 ms get
nothing at all. With n = 8 an answer takes 10 ms at any load, and what is beyond 800 a second is told so in a
millisecond.

Trade-off: n is right for one speed of the system only. When users slows down to half, 8 in flight take 20 ms; when it
gets a second replica, half of it stays idle.

Use instead: gradient2, which finds n from latency; a queue (codel) where bursts are short, because here a burst of
n + 1 loses one.

Units: requests, per gateway process. Source: Little's law (in flight = rate x time); Release It! (2007), "Bulkheads".
"""


class ConcurrencyLimit:
    """Counts who is in flight; ``enter`` lets nobody in beyond the limit of that moment."""

    def __init__(self) -> None:
        self.in_flight = 0

    def enter(self, limit: int) -> bool:
        """Whether there was room; then it is taken until ``leave``."""
        if self.in_flight >= limit:
            return False
        self.in_flight += 1
        return True

    def leave(self) -> None:
        """Give the room back."""
        self.in_flight -= 1
