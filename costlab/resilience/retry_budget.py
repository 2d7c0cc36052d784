"""Retry budget: retries may be at most a share of the requests, so that they cannot become the load.

Example: a share of 0.1. Each first attempt puts 0.1 tokens into a bucket of at most 10, each retry takes a whole one.
When 1 request in 100 fails, all are retried. When all fail, 100 requests make 110 attempts, not 300, and an upstream
that fell over at 120 % of its capacity has room to come back.

Trade-off: in an outage nearly every request fails at the first failure, also those that a second attempt would have
saved. The bucket starts full, so that a quiet client can retry at all: 10 retries, whatever the share.

Use instead: fewer attempts, when failures are rare and independent; a client throttle, to hold back first attempts too.

Units: tokens, one retry each; ``share`` tokens per first attempt. One bucket per upstream and process.
Source: SRE book, ch. 21, "Handling Overload" (a retry budget per client of 10 %); Finagle, RetryBudget.
"""

import threading

BURST = 10


class RetryBudget:
    """Of n first attempts with ``share`` deposited each, at most ``burst + share * n`` retries are granted."""

    def __init__(self, burst: float = BURST) -> None:
        self._burst = burst
        self._tokens = float(burst)
        self._lock = threading.Lock()

    def deposit(self, share: float) -> None:
        """A first attempt is made."""
        with self._lock:
            self._tokens = min(self._burst, self._tokens + share)

    def take(self) -> bool:
        """Whether there is a token for a retry; it is spent."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
