"""The newest spans of a service, kept where all its processes find them: what ``costlab trace`` is answered from.

    each process ── a batch of spans, five seconds after they ended at the latest ──► spans.jsonl
                                                   at LIMIT_BYTES it takes the place of spans.old.jsonl, and begins anew

Example: a span of a call takes 350 bytes, so 6,000 to 12,000 of them are kept: those of a minute at 25 requests a
second, all of them sampled. Which process of the service is asked does not matter, and a process that dies leaves what
it has kept; a service that is restarted begins with nothing.

Trade-off: one write per batch, in the thread that exports; 4 MiB of disk (of memory, where /tmp is one) per service.
Spans of the last five seconds before a process is killed are lost. Use instead: a collector such as Jaeger, for all.

Units: bytes. Lines are spans in the JSON form of OTLP (otlp.py).
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import orjson

from costlab.service import metric_files

REQUEST_ID = "costlab.request_id"
LIMIT_BYTES = 2 * 1024 * 1024


class KeptSpans:
    """The spans in ``folder``, which all processes of a service share and no other service does."""

    def __init__(self, folder: Path, limit: int = LIMIT_BYTES) -> None:
        self._new = folder / "spans.jsonl"
        self._old = folder / "spans.old.jsonl"
        self._lock = folder / "spans.lock"
        self._limit = limit

    def add(self, spans: Sequence[bytes]) -> None:
        """Keep ``spans``, each an OTLP span as JSON in one line; OSError when the disk does not take them."""
        # The newline comes first: a process that was killed while it wrote has left a line without an end.
        written = b"".join(b"\n" + span for span in spans)
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._new.exists() and self._new.stat().st_size + len(written) > self._limit:
                os.replace(self._new, self._old)
            with self._new.open("ab") as file:
                file.write(written)

    def of(self, identity: str) -> list[dict]:
        """The spans of the trace of that id, and of every trace in which a request of that id has a span."""
        files = list(self._files())
        traces = {identity, *(span["traceId"] for span in _naming(files, identity) if _request_id(span) == identity)}
        return [span for trace in traces for span in _naming(files, trace) if span["traceId"] == trace]

    def oldest(self) -> float | None:
        """When the oldest span that is kept ended, in seconds since 1970; None when none is kept."""
        first = next(_containing(self._files(), b""), None)
        return None if first is None else int(first["endTimeUnixNano"]) / 1e9

    def _files(self) -> Iterable[bytes]:
        if not self._lock.exists():
            return []
        with self._lock.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            return [file.read_bytes() for file in (self._old, self._new) if file.exists()]


def of_this_service() -> KeptSpans | None:
    """In the folder that gunicorn's processes share anyway; None outside of gunicorn."""
    folder = metric_files.folder()
    return None if folder is None else KeptSpans(folder)


def _naming(files: Iterable[bytes], text: str) -> Iterator[dict]:
    """Spans with ``text`` somewhere as a whole value."""
    return _containing(files, orjson.dumps(text))


def _containing(files: Iterable[bytes], part: bytes) -> Iterator[dict]:
    """Searched as bytes: few of thousands of lines are then parsed."""
    for lines in files:
        for line in lines.splitlines():
            if line and part in line:
                with suppress(orjson.JSONDecodeError):  # cut off when its process was killed
                    yield orjson.loads(line)


def _request_id(span: dict) -> str | None:
    values = (each["value"].get("stringValue") for each in span["attributes"] if each["key"] == REQUEST_ID)
    return next(values, None)
