"""Gradient2: a concurrency limit that follows latency. It grows while answers take as long as they always did, and
shrinks when they take longer.

After each window (100 ms, and at least 10 answers), with the mean time of its answers (short) and the average over the
last 600 windows (long):

    gradient = long / short * TOLERANCE, between 0.5 and 1
    limit    = (1 - SMOOTHING) * limit + SMOOTHING * (limit * gradient + QUEUE)

Example: answers take 5 ms and the limit is 16. They begin to take 10: gradient = 5/10 * 1.5 = 0.75, and window by
window the limit falls towards QUEUE / (1 - 0.75) = 4. At 15 ms and above it falls towards 2. Back at 5 ms the gradient
is 1, and every window adds SMOOTHING * QUEUE = 0.2: 2 per second.

Trade-off: slower for good (a larger table) looks like slower for now until the long average has followed, after a
minute; so does an overload that lasts, and then it counts as normal. A mix of cheap and dear routes that changes looks
like a change of latency.

Use instead: a fixed limit where capacity is known and stays; CoDel where requests may wait.

As in the source, but: the least limit is 2, not 20 (a gateway process has 8 threads, 20 would never bind), QUEUE is 1,
not 4, for the same reason; windows are of 100 ms, not 1 s, to follow within a second; and with less than half the
limit in flight the limit does not grow but may shrink, or a limit beyond the threads would never come down.

Units: seconds; requests per gateway process. Source: Netflix, concurrency-limits, Gradient2Limit and
WindowedLimit (2018).
"""

LEAST, MOST, FIRST = 2.0, 64.0, 8.0
TOLERANCE = 1.5
SMOOTHING = 0.2
QUEUE = 1.0
WINDOW_SECONDS, WINDOW_SAMPLES = 0.1, 10
LONG = 600
WARM_UP = 10


class Average:
    """An exponential average over about ``window`` samples; the plain mean of the first ten."""

    def __init__(self, window: int) -> None:
        self.value = 0.0
        self._weight = 2 / (window + 1)
        self._count = 0

    def add(self, sample: float) -> float:
        """The average with ``sample`` in it."""
        self._count = min(self._count + 1, WARM_UP + 1)
        weight = 1 / self._count if self._count <= WARM_UP else self._weight
        self.value += weight * (sample - self.value)
        return self.value


class Gradient2:
    """``limit`` is the number in force."""

    def __init__(self) -> None:
        self._long = Average(LONG)
        self._exact = FIRST
        self._ends_at = 0.0
        self._seconds: list[float] = []
        self._in_flight = 0

    @property
    def limit(self) -> int:
        """Requests that may be in flight, a whole number."""
        return int(self._exact)

    def sample(self, seconds: float, in_flight: int, now: float) -> None:
        """An answer came at ``now`` and took ``seconds``, with ``in_flight`` requests under way, itself included."""
        if not self._seconds:
            self._ends_at = now + WINDOW_SECONDS
        self._seconds.append(seconds)
        self._in_flight = max(self._in_flight, in_flight)
        if now >= self._ends_at and len(self._seconds) >= WINDOW_SAMPLES:
            self._follow(sum(self._seconds) / len(self._seconds), self._in_flight)
            self._seconds, self._in_flight = [], 0

    def _follow(self, short: float, in_flight: int) -> None:
        long = self._long.add(short)
        if long > 2 * short:  # the long average still holds a slow time that is over
            self._long.value *= 0.95
        gradient = max(0.5, min(1.0, TOLERANCE * long / short)) if short > 0 else 1.0
        wanted = (1 - SMOOTHING) * self._exact + SMOOTHING * (self._exact * gradient + QUEUE)
        if wanted <= self._exact or in_flight >= self._exact / 2:
            self._exact = max(LEAST, min(MOST, wanted))
