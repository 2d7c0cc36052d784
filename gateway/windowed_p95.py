"""Windowed p95: the 95th percentile of the last 200 samples, kept as they come.

Example: 200 answers, 190 within 4 ms and 10 above: the p95 is the 190th in order, at most 4 ms. When answers become
slower, the next 200 have pushed the old ones out, and the estimate is all new; half way there it is already on its way.

Trade-off: it sorts 200 numbers (about 10 µs), so it does that once in 20 samples and is that old in between. 200
samples hold 10 beyond the p95: the estimate is rough, and for a p99.9 there would be nothing to go by.

Use instead: P² (Jain, Chlamtac 1985), five numbers instead of 200, where nothing need be forgotten; a histogram where
estimates of several processes are to be added up.

Units: those of the samples. Source: nearest rank, as in ISO 2854 and most textbooks: the smallest sample that at least
95 % do not exceed.
"""

import threading

SHARE_PERCENT = 95
WINDOW = 200
STEP = 20


class WindowedP95:
    """``value`` is None until the first 20 samples are there."""

    def __init__(self) -> None:
        self.value: float | None = None
        self._samples: list[float] = []
        self._count = 0
        self._lock = threading.Lock()

    def add(self, sample: float) -> None:
        """Take ``sample`` in; the oldest goes."""
        with self._lock:
            if len(self._samples) < WINDOW:
                self._samples.append(sample)
            else:
                self._samples[self._count % WINDOW] = sample
            self._count += 1
            if self._count % STEP == 0:
                self.value = nearest_rank(self._samples)


def nearest_rank(samples: list[float]) -> float:
    """The smallest sample that at least 95 % of all do not exceed."""
    return sorted(samples)[-(-len(samples) * SHARE_PERCENT // 100) - 1]
