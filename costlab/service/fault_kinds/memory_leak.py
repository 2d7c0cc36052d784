"""Memory leak: the process takes memory and keeps it until the fault ends.

Example: 10 MiB per second up to 64 MiB: after 6.4 s a service of 2 processes holds 128 MiB more. In a container whose
limit that passes the kernel kills the service, as it does in life.

Trade-off: the memory is written to, so that it is really there, and never read, so the machine may swap it out. It
leaks outside of Python's heap and is all given back at the end, which real leaks are not.
Use instead: a restart that is due, to see what the service makes of ending; ``capacity_cut`` for a loss without danger.

Units: MiB (2^20 bytes), per second and in all, for each process. Source: stress-ng, ``--vm-keep``.
"""

import mmap
import threading
import time

from costlab.service.fault_kinds.effects import Parts

STEP_SECONDS = 0.1
_MIB = 1024 * 1024
_WRITTEN = b"\x01" * _MIB


def due(elapsed: float, mib_per_second: float, cap_mib: float) -> int:
    """Bytes that have to be leaked after ``elapsed`` seconds.

    >>> due(2.0, 10, 64) // 1024 // 1024, due(60.0, 10, 64) // 1024 // 1024
    (20, 64)
    """
    return int(min(elapsed * mib_per_second, cap_mib) * _MIB)


class MemoryLeak:
    """Leaks ``mib_per_second`` up to ``cap_mib``."""

    def __init__(self, mib_per_second: float, cap_mib: float) -> None:
        self._mib_per_second = mib_per_second
        self._cap_mib = cap_mib
        self._stopped = threading.Event()

    def refusal(self, parts: Parts) -> str:
        """It fits everywhere."""
        return ""

    def start(self, parts: Parts) -> None:
        """Begin to leak."""
        threading.Thread(target=self._leak, name="memory-leak", daemon=True).start()

    def stop(self, parts: Parts) -> None:
        """Give everything back, within STEP_SECONDS."""
        self._stopped.set()

    def _leak(self) -> None:
        began, held, leaked = time.monotonic(), 0, []
        while not self._stopped.wait(STEP_SECONDS):
            more = due(time.monotonic() - began, self._mib_per_second, self._cap_mib) - held
            if more > 0:
                leaked.append(_written(more))
                held += more
        for piece in leaked:
            piece.close()


def _written(size: int) -> mmap.mmap:
    """Memory of its own, which goes back to the system when it is closed; the heap would keep it."""
    piece = mmap.mmap(-1, size)
    while (left := size - piece.tell()) > 0:
        piece.write(_WRITTEN[:left])
    return piece
