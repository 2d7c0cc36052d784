"""Circuit breaker: stop calling a service that keeps failing; let one call through now and then to see if it is back.

Example: users times out after 2 s and orders calls it 50 times a second. Without a breaker 100 threads hang in
timeouts. With one, after 5 failures in a row the circuit opens: for 5 s every call fails at once, then exactly one
probe goes through; if it succeeds the circuit closes, if not it stays open another 5 s.

Trade-off: while it is open, calls that would have worked are refused too (a false trip), and 5 failures in a row
happen by chance: once in some 4,000 calls to a service that fails every fifth.

Use instead: a client-side throttle (SRE book, ch. 21) when an upstream fails partly, or retries with a budget for
rare failures.

Units: seconds. Source: Nygard, Release It! (2007), "Circuit Breaker"; states and counting by the pybreaker library.

pybreaker is wrapped, not used bare: its ``call()`` holds a lock while the guarded call runs, so calls queue up
behind each other, and its ``calling()`` lets every waiting thread probe at once when the circuit is half-open.
Here calls run without the lock, behind a gate that lets a single probe through. A call that was let through before
the circuit opened and ends after it tells pybreaker nothing: there it would pass for the probe.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import pybreaker

from costlab.service import metrics

FAILURES = 5
OPEN_SECONDS = 5.0


class CircuitOpen(Exception):
    """The circuit is open: the call was not made."""


class _Opened(pybreaker.CircuitBreakerListener):
    def __init__(self, upstream: str) -> None:
        self._count = metrics.BREAKER_OPENED.labels(upstream)

    def state_change(self, cb, old_state, new_state) -> None:
        if new_state.name == pybreaker.STATE_OPEN:
            self._count.inc()


class CircuitBreaker:
    """Guards calls to one upstream. ``ignore`` lists exceptions that say nothing about its health."""

    def __init__(
        self,
        upstream: str,
        failures: int = FAILURES,
        open_seconds: float = OPEN_SECONDS,
        ignore: tuple[type[Exception], ...] = (),
    ) -> None:
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=failures,
            reset_timeout=open_seconds,
            exclude=list(ignore),
            listeners=[_Opened(upstream)],
            throw_new_error_on_trip=False,
        )
        self._probe = threading.Lock()
        self._refused = metrics.BREAKER_REFUSED.labels(upstream)

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``."""
        return self._breaker.current_state

    @contextmanager
    def guard(self, fair: bool = True) -> Iterator[None]:
        """Run a call inside; CircuitOpen when it must not be made. What the block raises counts as a failure.

        A call that is not ``fair``, because it gives the upstream too little time, counts neither way and is no probe.
        """
        if self.state == pybreaker.STATE_CLOSED:
            try:
                yield
            except Exception as error:
                if fair and self.state == pybreaker.STATE_CLOSED:
                    self._failed(error)
                raise
            # Success after success leaves the count at nought: nothing to tell pybreaker, which takes 20 µs to hear it.
            if fair and self._breaker.fail_counter and self.state == pybreaker.STATE_CLOSED:
                with suppress(pybreaker.CircuitBreakerError):  # others have opened the circuit this moment
                    self._breaker.call(_nothing)
        elif fair and self._probe.acquire(blocking=False):
            try:
                with self._counted():
                    yield
            finally:
                self._probe.release()
        else:
            self._refuse()

    def _failed(self, error: Exception) -> None:
        # What comes back is ``error`` itself, or CircuitBreakerError when others have opened the circuit this moment.
        with suppress(type(error), pybreaker.CircuitBreakerError):
            self._breaker.call(_raise, error)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            with self._breaker.calling():
                yield
        except pybreaker.CircuitBreakerError:
            self._refuse()

    def _refuse(self) -> NoReturn:
        self._refused.inc()
        raise CircuitOpen("the circuit is open")


def _nothing() -> None:
    """A call that succeeds."""


def _raise(error: Exception) -> NoReturn:
    raise error
