"""CPU and memory of a service, read from /proc when somebody asks for its metrics: no thread, no cost otherwise.

Gunicorn's master and every process below it count, those that have ended included: the kernel adds their time to that
of the parent that waited for them. Memory is PSS, in which a page that n processes share counts as 1/n in each; the
same as `costlab status` and the lab read from outside.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from costlab.service import metrics

# Whoever waits for flags asks for metrics every few milliseconds.
PAUSE_SECONDS = 1.0
# Reading PSS walks the page tables, 3 ms of CPU per process: read at every scrape, most of what a scrape costs.
MEMORY_SECONDS = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


class ProcessUsage:
    """Sets the two metrics, at most once in PAUSE_SECONDS and MEMORY_SECONDS. ``root``: whose tree counts."""

    def __init__(self, root: int, proc: Path = Path("/proc")) -> None:
        self._root = root
        self._proc = proc
        self._last = -PAUSE_SECONDS
        self._memory_last = -MEMORY_SECONDS
        self._pids: list[int] = []

    def record(self, now: float) -> None:
        """Read and set what is due; nothing where there is no /proc."""
        if now - self._last < PAUSE_SECONDS or not self._proc.is_dir():
            return
        self._last = now
        if now - self._memory_last >= MEMORY_SECONDS:
            self._memory_last = now
            # A process that comes later is seen later, as a rise; the time of one that goes is its parent's.
            self._pids = list(self._tree(self._root))
            metrics.MEMORY_BYTES.set(sum(pss_bytes(text) for text in self._read("smaps_rollup")))
        metrics.CPU_SECONDS.set(sum(cpu_seconds(text) for text in self._read("stat")))

    def _read(self, file: str) -> Iterator[str]:
        for pid in self._pids:
            try:
                yield (self._proc / str(pid) / file).read_text()
            except OSError:
                continue  # it has just ended, and its time is its parent's

    def _tree(self, pid: int) -> Iterator[int]:
        yield pid
        for children in self._proc.glob(f"{pid}/task/*/children"):
            try:
                found = children.read_text().split()
            except OSError:
                continue  # a thread that has just ended
            for child in found:
                yield from self._tree(int(child))


def of_this_service() -> ProcessUsage:
    """Of gunicorn's master and what is below it; of this process alone where there is no gunicorn."""
    return ProcessUsage(os.getppid() if "PROMETHEUS_MULTIPROC_DIR" in os.environ else os.getpid())


def cpu_seconds(stat: str) -> float:
    """User and system time of /proc/PID/stat, its own and that of children it has waited for.

    >>> cpu_seconds("7 (a (b) c) S 1 7 7 0 -1 0 0 0 0 0 100 50 25 25 20 0") * _TICKS
    200.0
    """
    # The name, in parentheses, may hold anything; after it come field 3 and on, and the times are 14 to 17.
    return sum(int(ticks) for ticks in stat.rpartition(")")[2].split()[11:15]) / _TICKS


def pss_bytes(smaps_rollup: str) -> int:
    """The PSS line, in bytes; 0 of a process that is ending."""
    found = (line.split()[1] for line in smaps_rollup.splitlines() if line.startswith("Pss:"))
    return int(next(found, 0)) * 1024


class Recorder:
    """The usage of this service, found out at the first request, which is served after the fork."""

    def __init__(self) -> None:
        self._usage: ProcessUsage | None = None

    def __call__(self) -> None:
        if self._usage is None:
            self._usage = of_this_service()
        self._usage.record(time.monotonic())
