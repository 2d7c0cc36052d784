"""Hedged requests: when an answer is late, ask a second time, and take whichever answer comes first.

Example: 1 in 100 answers takes 1 s, because of a stall that has nothing to do with the request; the others take 10 ms.
A page of 100 requests is then slow in 63 % of all cases. Sent again after 20 ms, only 1 in 10,000 requests is slow, for
1 % more requests; the page is slow in 1 %.

``fixed`` asks again after gateway.hedge_ms; ``p95`` after the time that 95 % of the last 200 requests to that upstream
took (windowed_p95.py), so that about 5 % are sent twice, however fast it is. Requests of safe methods only (RFC 9110,
9.2.1): they change nothing, whoever answers. An attempt that fails, with an error or an answer of 5xx, loses to one
that does not, and a 5xx says nothing about how long answers take. The loser is left to end by itself, by its deadline
at the latest.

The cap: each request adds gateway.hedge_cap tokens to a bucket of 10, each hedge takes one. Of n requests at most
cap * n + 10 are sent twice. Without it an upstream that is slow because it is busy gets twice the load.

Trade-off: load, and a hand-over to another thread for each request (about 0.1 ms), because a thread that waits for a
socket cannot be called back. Where slowness comes from load, or with the one replica there is, hedging helps little
and may do harm. Load shedding counts a request once, hedged or not; a second answer may be a moment newer.

Use instead: retries, for answers that fail rather than tarry; tied requests, where upstreams can tell each other.

Units: seconds; tokens of one request each, per upstream and process.
Source: Dean, Barroso, "The Tail at Scale", CACM 56(2), 2013.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from opentelemetry.trace import SpanContext

from costlab.resilience.retry_budget import RetryBudget
from costlab.service import context, metrics, problem
from costlab.service.flags import Flags
from costlab.service.http_client import Answer
from gateway.daemon_pool import DaemonPool
from gateway.windowed_p95 import WindowedP95

SAFE = frozenset({"GET", "HEAD"})
POOL_SIZE = 32

Call = Callable[[], Answer]


@dataclass
class _Upstream:
    """What is known about the calls to one upstream. The cap's bucket is that of a retry budget."""

    name: str
    latency: WindowedP95 = field(default_factory=WindowedP95)
    cap: RetryBudget = field(default_factory=RetryBudget)


class Hedger:
    """Makes calls twice when they are late, by the flags ``gateway.hedge``, ``_ms`` and ``_cap``."""

    def __init__(self, flags: Flags, clock: Callable[[], float] = time.monotonic) -> None:
        self._flags = flags
        self._clock = clock
        self._pool = DaemonPool(POOL_SIZE)
        self._upstreams: dict[str, _Upstream] = {}
        self._outcomes = metrics.Children(metrics.HEDGES)

    def run(self, kind: str, name: str, call: Call) -> Answer:
        """The first answer to ``call``, a request of a safe method; what it raises when none comes."""
        upstream = self._upstreams.setdefault(name, _Upstream(name))
        upstream.cap.deposit(self._flags["gateway.hedge_cap"])
        delay = self._flags["gateway.hedge_ms"] / 1000 if kind == "fixed" else upstream.latency.value
        if delay is None or delay >= _left():
            return self._timed(upstream, call)
        race = _Race()
        if not self._pool.submit(race.attempt(lambda: self._timed(upstream, call), hedge=False)):
            self._count(upstream, "busy")
            return self._timed(upstream, call)
        arrived = race.first(delay)
        return _result(arrived or self._late(upstream, race, call))

    def _late(self, upstream: _Upstream, race: "_Race", call: Call) -> "_Arrived":
        """What arrives first, after the first attempt did not in time."""
        sent = self._second(upstream, race, call)
        arrived = race.first()
        if sent and arrived.failed():
            other = race.first()
            arrived = arrived if other.failed() else other
        if arrived.hedge and not arrived.failed():
            self._count(upstream, "won")
        return arrived

    def _second(self, upstream: _Upstream, race: "_Race", call: Call) -> bool:
        """Whether a second attempt was sent."""
        if _left() <= 0:
            return False
        if not upstream.cap.take():
            outcome = "capped"
        else:
            outcome = "sent" if self._pool.submit(race.attempt(call, hedge=True)) else "busy"
        self._count(upstream, outcome)
        return outcome == "sent"

    def _count(self, upstream: _Upstream, outcome: str) -> None:
        """In the metric, and in the trace of the request."""
        self._outcomes[upstream.name, outcome].inc()
        context.note("costlab.hedge", outcome)

    def _timed(self, upstream: _Upstream, call: Call) -> Answer:
        started = self._clock()
        try:
            answer = call()
        except problem.GatewayTimeout:
            upstream.latency.add(self._clock() - started)
            raise
        if answer.status < 500:
            upstream.latency.add(self._clock() - started)
        return answer


@dataclass(slots=True)
class _Arrived:
    """How one attempt ended."""

    hedge: bool
    answer: Answer | None = None
    error: Exception | None = None

    def failed(self) -> bool:
        """Whether another attempt can only do better."""
        return self.error is not None or self.answer.status >= 500


class _Race:
    """Attempts at one call, each in a thread of its own."""

    def __init__(self) -> None:
        self._arrivals: SimpleQueue[_Arrived] = SimpleQueue()
        self._spans: list[SpanContext] = []

    def attempt(self, call: Call, hedge: bool) -> Callable[[], None]:
        """A job that makes ``call`` on behalf of the current request. Each has its own copy of it, because spans are
        noted there; what they share is the list of attempts, by which the second is linked to the first."""
        request = copy.copy(context.current())
        if request is not None:
            request.attempts = self._spans

        def job() -> None:
            arrived = _Arrived(hedge)
            context.enter(request)
            try:
                arrived.answer = call()
            except Exception as error:  # noqa: BLE001 - raised again where the answer is awaited
                arrived.error = error
            context.enter(None)
            self._arrivals.put(arrived)

        return job

    def first(self, within: float | None = None) -> _Arrived | None:
        """The next to arrive; None when nobody does ``within`` seconds. Every call ends, by its deadline."""
        try:
            return self._arrivals.get(timeout=within)
        except Empty:
            return None


def _result(arrived: _Arrived) -> Answer:
    if arrived.error is not None:
        raise arrived.error
    return arrived.answer


def _left() -> float:
    left = context.remaining()
    return float("inf") if left is None else left
