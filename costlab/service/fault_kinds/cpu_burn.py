"""CPU burn: threads in the process of the service that keep cores busy.

Example: 2 threads with a share of 0.5 take 1 s of CPU per second in each process. On two cores that is half of the
machine, and the service shares what is left with everybody.

Trade-off: they hash, which leaves Python's lock alone, so it is the core that is missing and not the lock; on a machine
with idle cores nobody notices anything. A thread that could not run makes up for at most CATCH_UP_SECONDS.
Use instead: ``capacity_cut`` for the same loss on every machine.

Units: threads; share of one core. Source: stress-ng, ``--cpu-load``; Gremlin, the CPU attack.
"""

import hashlib
import threading
import time

from costlab.service.fault_kinds.effects import Parts

CATCH_UP_SECONDS = 0.1
PAUSE_SECONDS = 0.02
# Hashed in about a third of a millisecond, without Python's lock.
_BLOCK = bytes(512 * 1024)


def owed(elapsed: float, used: float, share: float) -> float:
    """CPU seconds a thread still has to burn to have taken ``share`` of ``elapsed``; negative when it is ahead.

    >>> owed(1.0, 0.4, 0.5)
    0.09999999999999998
    """
    return elapsed * share - used


class CpuBurn:
    """Burns ``share`` of a core in each of ``threads`` threads."""

    def __init__(self, threads: int, share: float) -> None:
        self._threads = threads
        self._share = share
        self._stopped = threading.Event()

    def refusal(self, parts: Parts) -> str:
        """It fits everywhere."""
        return ""

    def start(self, parts: Parts) -> None:
        """Light it."""
        for number in range(self._threads):
            threading.Thread(target=self._burn, name=f"cpu-burn-{number}", daemon=True).start()

    def stop(self, parts: Parts) -> None:
        """Put it out; the threads end within PAUSE_SECONDS."""
        self._stopped.set()

    def _burn(self) -> None:
        began, used = time.monotonic(), time.thread_time()
        while not self._stopped.is_set():
            debt = owed(time.monotonic() - began, time.thread_time() - used, self._share)
            if debt > CATCH_UP_SECONDS:
                began, used = time.monotonic(), time.thread_time()
            elif debt > 0:
                hashlib.sha256(_BLOCK)
            else:
                self._stopped.wait(PAUSE_SECONDS)
