"""A bounded pool of threads that nobody waits for: not those who hand in a job, not the process when it ends.

Example: size 32. The 33rd job at once is not taken, and its owner does without: a queue of jobs here would be a wait
that nobody sees.

Trade-off: a job that is under way when the process ends is cut off in the middle; it must be one that nobody misses.

Use instead: concurrent.futures, whose threads the interpreter joins when it ends, for work that must be finished.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue


class DaemonPool:
    """At most ``size`` threads, started when they are first needed. A job must not raise."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._threads = 0
        self._idle = 0
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()

    def submit(self, job: Callable[[], None]) -> bool:
        """Whether a thread was free for ``job``; then it runs."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._threads < self._size:
                threading.Thread(target=self._work, name=f"pool-{self._threads}", daemon=True).start()
                self._threads += 1
            else:
                return False
        self._jobs.put(job)
        return True

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            with self._lock:
                self._idle += 1
