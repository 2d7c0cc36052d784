"""Single flight: while one call for a key is in the air, whoever else asks for that key in this process waits for its
answer instead of making a call of its own.

Example: an answer that takes 200 ms to make is read 500 times a second, and expires. With ``ttl`` a hundred calls reach
the origin before the first new answer is stored; with single flight one does, and 99 callers wait for it, 100 ms on
average. Failures are shared like answers: if the call fails all hundred get that error, and the next one asks again.

Trade-off: it is per process, so p processes make p calls. One slow call delays everybody who joined it, each until
their own deadline; whoever gives up gives up alone, and the call goes on for the others.
Use instead: a lease when there are many processes, stale-while-revalidate when nobody should wait at all.

Units: seconds. Source: Fitzpatrick, groupcache (2013), package singleflight.
"""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from services.cache_proxy.entry import Entry
from services.cache_proxy.strategies.ttl import Ttl
from services.cache_proxy.strategy import Action

Result = TypeVar("Result")


class SingleFlight(Ttl):
    """Fresh or not as ``ttl`` has it; what is not is filled by one caller for all."""

    name = "single_flight"

    def on_read(self, entry: Entry | None, now: float, ttl: float, window: float) -> Action:
        return Action.SERVE if super().on_read(entry, now, ttl, window) is Action.SERVE else Action.JOIN


class Flights(Generic[Result]):
    """The calls of this process that are in the air, at most one for each key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[Hashable, Future[Result]] = {}

    def board(self, key: Hashable) -> tuple[Future[Result], bool]:
        """The flight for ``key``, and whether it is a new one, which the caller then has to ``fly``."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            flight = self._flights[key] = Future()
            return flight, True

    def fly(self, key: Hashable, call: Callable[[], Result]) -> None:
        """Make the call; everybody on board gets what it returns or raises."""
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 - raised again in every caller
            self._land(key).set_exception(error)
        else:
            self._land(key).set_result(result)

    def _land(self, key: Hashable) -> Future[Result]:
        """The flight, which nobody can board any more: a failure must not reach those who ask after it."""
        with self._lock:
            return self._flights.pop(key)
