"""Threads: ``size`` consumers in this process, which overlap wherever they wait.

Example: a job of 2 ms CPU and 10 ms waiting. One consumer does 83 a second; 4 threads do 330, and more threads no more
than 500, because the interpreter lets one thread compute at a time: 1 s / 2 ms.
Trade-off: cheap (one more thread and connection each), and useless for jobs that only compute. A crash of the process
takes every job in hand with it.
Use instead: ``processes`` when jobs compute, ``serial`` when they must not overlap.
Units: consumers. Source: Python documentation, "Global interpreter lock"; Gunther, universal scalability law (2007).
"""

import threading
import time
from collections.abc import Callable

from services.worker.consumer import Consumer
from services.worker.pools import STOP_SECONDS, counted


class ThreadPool:
    """``size`` threads, each running a consumer that ``make`` returns for its name."""

    kind = "threads"

    def __init__(self, size: int, life: str, make: Callable[[str], Consumer]) -> None:
        self.size = size
        self._life = life
        self._make = make
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to take jobs."""
        for number in range(self.size):
            consumer = self._make(f"{self._life}-{number}")
            thread = threading.Thread(target=self._run, args=[consumer], name=f"consumer-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, patience: float = STOP_SECONDS) -> None:
        """Take no more jobs; returns when those in hand are done, or after ``patience`` seconds."""
        self._stopped.set()
        deadline = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def alive(self) -> int:
        """How many consumers run."""
        return sum(thread.is_alive() for thread in self._threads)

    def _run(self, consumer: Consumer) -> None:
        with counted(self.kind):
            consumer.run(self._stopped)
