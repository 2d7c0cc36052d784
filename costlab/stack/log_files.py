"""The log files of a stack's services: following them, and finding in one why its service failed."""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_POLL_SECONDS = 0.2
# gunicorn's own lines come after the reason and mostly only say that there is one.
_GUNICORN = "gunicorn.error"
_REASON = re.compile(r"cannot |failed|FATAL|PANIC|No space left|[a-z]*error\b|exception\b|# .*aborting", re.IGNORECASE)
_LONGEST_REASON = 400


def lines(files: Mapping[str, Path], follow: bool) -> Iterator[str]:
    """The lines of ``files`` (name to path), each with its name in front when there are several.

    Without ``follow`` one file after the other, else as they come, for ever. A file that is rotated is read on.
    """
    width = max(map(len, files), default=0)
    tails = [_Tail(path, f"{name:<{width}} | " if len(files) > 1 else "") for name, path in files.items()]
    while True:
        for tail in tails:
            yield from tail.new_lines()
        if not follow:
            return
        time.sleep(_POLL_SECONDS)


def cause(file: Path, offset: int = 0) -> str:
    """The line that says why a service failed, from what it wrote after ``offset``."""
    return reason(_text_after(file, offset).splitlines()) or "it wrote nothing"


def reason(lines: Sequence[str]) -> str:
    """That line of ``lines``; empty where there is none."""
    written = [line.strip() for line in lines if line.strip()]
    told = [line for line in map(_told, written) if line] or written
    return next((line for line in reversed(told) if _REASON.search(line)), told[-1] if told else "")[:_LONGEST_REASON]


def _told(line: str) -> str:
    """What ``line`` says; of one of gunicorn's own, the exception at the end of its traceback."""
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if not isinstance(event, dict) or event.get("event") != _GUNICORN:
        return line
    return event.get("exception", "").strip().rpartition("\n")[2]


def size(file: Path) -> int:
    """Bytes written so far."""
    return file.stat().st_size if file.exists() else 0


def _text_after(file: Path, offset: int) -> str:
    if not file.exists():
        return ""
    with file.open("rb") as opened:
        opened.seek(offset if offset <= size(file) else 0)
        return opened.read().decode(errors="replace")


class _Tail:
    def __init__(self, path: Path, prefix: str) -> None:
        self._path, self._prefix = path, prefix
        self._read, self._inode, self._partial = 0, 0, b""

    def new_lines(self) -> Iterator[str]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self._inode or size(self._path) < self._read:
                self._read, self._inode = 0, inode
            file.seek(self._read)
            data = file.read()
        self._read += len(data)
        *whole, self._partial = (self._partial + data).split(b"\n")
        for line in whole:
            yield self._prefix + line.decode(errors="replace")
