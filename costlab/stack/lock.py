"""One costlab at a time starts, stops or restarts a stack; a second one waits for the first.

One at a time runs an experiment on it; a second one is refused.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from costlab.stack import StackError

_WAIT_SECONDS = 180.0
_TICK_SECONDS = 0.1


@contextmanager
def alone(file: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Hold ``file``; the kernel gives it back when this process ends, however it ends."""
    descriptor = _acquire(file, report)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone_or_refused(file: Path, doing: str) -> Iterator[None]:
    """Hold ``file``, or refuse at once because another costlab is ``doing`` something."""
    descriptor = _try(file)
    if descriptor is None:
        raise StackError(f"another costlab{_holder(file)} is {doing}: wait for it, or end it")
    try:
        yield
    finally:
        os.close(descriptor)


def _acquire(file: Path, report: Callable[[str], None]) -> int:
    deadline = time.monotonic() + _WAIT_SECONDS
    told = False
    while (descriptor := _try(file)) is None:
        if not told:
            report(f"waiting for another costlab{_holder(file)} that starts or stops this stack")
            told = True
        if time.monotonic() > deadline:
            raise StackError(f"another costlab{_holder(file)} has held {file} for {_WAIT_SECONDS:.0f} s; is it stuck?")
        time.sleep(_TICK_SECONDS)
    return descriptor


def _try(file: Path) -> int | None:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # `down --volumes` removes the folder: what we hold then is a file that nobody else will ever open.
        if os.fstat(descriptor).st_ino == os.stat(file).st_ino:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _holder(file: Path) -> str:
    try:
        return f" (pid {int(file.read_text())})"
    except (OSError, ValueError):
        return ""
