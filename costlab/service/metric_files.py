"""The files in which processes count, and what becomes of those of a process that has died.

    counter_71.db   ──┐ process 71 has died
    counter_0.db    ◄─┘ what it counted is added here, and its file goes

prometheus-client keeps one file per process and kind of metric in PROMETHEUS_MULTIPROC_DIR and never gives one up but
those of live gauges: a service whose processes come and go fills its disk, and each scrape takes longer than the last.
What a dead process counted still happened, so it is kept, as the count of a process 0, which there is never.

Example: 1,000 processes of a service, one after the other, leave 2 files of 64 KiB instead of 2,000.
Trade-off: a parent killed in the middle of the adding can leave one process counted twice; nothing is ever left out.
Source: the documentation of prometheus-client, "Multiprocess Mode".
"""

import fcntl
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import multiprocess
from prometheus_client.mmap_dict import MmapedDict

_DEAD = 0
_SUMMED = ("counter", "histogram")


def folder() -> Path | None:
    """The folder that the processes of a service share; None outside of gunicorn."""
    named = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return None if named is None else Path(named)


@contextmanager
def reading() -> Iterator[None]:
    """While this holds, no file is folded into another: each process is counted once."""
    shared = folder()
    if shared is None:
        yield
        return
    with _locked(shared, fcntl.LOCK_SH):
        yield


def forget_gauges(pid: int) -> None:
    """Drop the gauges of a process that has died, or that has made some without meaning to."""
    if folder() is not None:
        multiprocess.mark_process_dead(pid)


def forget_process(pid: int) -> None:
    """Drop all files of a process that has died, however it died; what it counted stays in the sums."""
    shared = folder()
    if shared is None:
        return
    with _locked(shared, fcntl.LOCK_EX):
        forget_gauges(pid)
        for kind in _SUMMED:
            file = shared / f"{kind}_{pid}.db"
            if file.exists():
                _fold(file, shared / f"{kind}_{_DEAD}.db")
        for file in shared.glob(f"exemplars_{pid}.*"):
            file.unlink()


def forget_dead_processes() -> None:
    """The same for every process that lives no longer, for those whose parent could not."""
    shared = folder()
    if shared is None:
        return
    for pid in {int(file.stem.rpartition("_")[2]) for file in shared.glob("*_*.db")} - {_DEAD}:
        if not _lives(pid):
            forget_process(pid)


def forget_killed_masters(name: str) -> None:
    """Remove the folders ``name`` and a pid of masters that were killed: they could not take away their own."""
    for left in Path(tempfile.gettempdir()).glob(f"{name}*"):
        pid = left.name.removeprefix(name)
        if pid.isdecimal() and not _lives(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True


def _fold(file: Path, into: Path) -> None:
    kept = MmapedDict(str(into))
    try:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(file):
            kept.write_value(key, kept.read_value(key)[0] + value, 0.0)
    except struct.error:
        pass  # it was killed between the making of its file and the first byte in it
    finally:
        kept.close()
    file.unlink()


@contextmanager
def _locked(shared: Path, how: int) -> Iterator[None]:
    # The system gives the lock back whatever happens to its holder.
    with (shared / "lock").open("a") as lock:
        fcntl.flock(lock, how)
        yield
