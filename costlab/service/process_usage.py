"""CPU and memory of a service, read from /proc when somebody asks for its metrics: no thread, no cost otherwise.

Gunicorn's master and every process below it count, those that have ended included: the kernel adds their time to that
of the parent that waited for them. Memory is PSS, in which a page that n processes share counts as 1/n in each; the
same as `costlab status` and the lab read from outside.

    master 5.00 s, a 7.00 s, b 3.00 s                     told: 15.00 s
    master 5.00 s, a 7.01 s; b ends before it is read     told: 15.00 s, as before; less would be a restart to rate()
    master 8.00 s, a 7.02 s, c 0.20 s                     told: 15.22 s

A parent is read before its children: one that ends in between is missing from that reading, and what was told before
covers it. The other way round it would count twice, and the value would stand still for as long as it had worked.
What remains: the time of children whose parent was killed before it waited for them is lost, and the value stands still
until the others have used as much. Whoever asks twice within PAUSE_SECONDS may be told an older value the second time,
if the process that told the first has ended in between.
"""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from costlab.service import metric_files, metrics

# Whoever waits for flags asks for metrics every few milliseconds.
PAUSE_SECONDS = 1.0
# Reading PSS walks the page tables, 3 ms of CPU per process: read at every scrape, most of what a scrape costs.
MEMORY_SECONDS = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = 4096


class ProcessUsage:
    """Sets the two metrics, at most once in PAUSE_SECONDS and MEMORY_SECONDS. ``root``: whose tree counts.

    ``shared``: the folder of all processes that tell of that tree, each asked in its turn; None where there is one.
    """

    def __init__(self, root: int, proc: Path = Path("/proc"), shared: Path | None = None) -> None:
        self._root = root
        self._proc = proc
        self._shared = shared
        self._last = -PAUSE_SECONDS
        self._memory_last = -MEMORY_SECONDS

    def record(self, now: float) -> None:
        """Read and set what is due; nothing where there is no /proc."""
        if now - self._last < PAUSE_SECONDS or not self._proc.is_dir():
            return
        self._last = now
        # Listed anew each time: with a list of its own, each process would tell of other processes than the next.
        pids = list(self._tree(self._root))
        self._tell(sum(cpu_seconds(text) for text in self._read(pids, "stat")))
        if now - self._memory_last >= MEMORY_SECONDS:
            self._memory_last = now
            metrics.MEMORY_BYTES.set(sum(pss_bytes(text) for text in self._read(pids, "smaps_rollup")))

    def _tell(self, seconds: float) -> None:
        """Set CPU time to ``seconds``, or to the most that any process of the service has told, if that is more."""
        if self._shared is None:
            metrics.CPU_SECONDS.set(seconds)
            return
        try:
            told = os.open(self._shared / "cpu_seconds", os.O_RDWR | os.O_CREAT, 0o600)
            with open(told, "r+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed, so that the newest value is the highest
                highest = max(seconds, float(file.read() or 0))
                metrics.CPU_SECONDS.set(highest)
                file.seek(0)
                file.write(f"{highest:32}".encode())
        except OSError:  # a full disk is no reason to withhold an answer
            metrics.CPU_SECONDS.set(seconds)

    def _read(self, pids: Iterable[int], file: str) -> Iterator[str]:
        return (_text(f"{self._proc}/{pid}/{file}") for pid in pids)

    def _tree(self, pid: int) -> Iterator[int]:
        """The process and all below it, each before its children, whichever of its threads forked them."""
        yield pid
        try:
            threads = os.listdir(f"{self._proc}/{pid}/task")
        except OSError:
            return  # it has just ended
        for thread in threads:
            for child in _text(f"{self._proc}/{pid}/task/{thread}/children").split():
                yield from self._tree(int(child))


def _text(file: str) -> str:
    """What a file in /proc says, a page at most; nothing of a process or thread that has ended.

    Without ``open``, which takes three times as long: every thread of the service has a file that is read.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return ""
    try:
        return os.read(descriptor, _PAGE).decode()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def of_this_service() -> ProcessUsage:
    """Of gunicorn's master and what is below it; of this process alone where there is no gunicorn."""
    shared = metric_files.folder()
    return ProcessUsage(os.getpid() if shared is None else os.getppid(), shared=shared)


def cpu_seconds(stat: str) -> float:
    """User and system time of /proc/PID/stat, its own and that of children it has waited for.

    >>> cpu_seconds("7 (a (b) c) S 1 7 7 0 -1 0 0 0 0 0 100 50 25 25 20 0") * _TICKS
    200.0

    0 of a process that has ended.
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
