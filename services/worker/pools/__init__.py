"""Where a worker's consumers run, one way per file (flag ``worker.pool``).

``start`` begins to take jobs; ``stop`` takes no more and returns when those in hand are done, or after ``patience``
seconds, when others may take them over; ``alive`` counts the consumers that run. A pool is started and stopped once;
another kind or size is another pool.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from costlab.service import metrics

STOP_SECONDS = 15.0


class Pool(Protocol):
    """Consumers that run together."""

    size: int

    def start(self) -> None: ...

    def stop(self, patience: float = STOP_SECONDS) -> None: ...

    def alive(self) -> int: ...


@contextmanager
def counted(kind: str) -> Iterator[None]:
    """A consumer of a pool of this kind runs for the length of the block."""
    running = metrics.WORKER_CONSUMERS.labels(kind)
    running.inc()
    try:
        yield
    finally:
        running.dec()
