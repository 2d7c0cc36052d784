"""Follows a running k6: when its scenarios started, what CPU it has used, what it said last."""

import math
import queue
import threading
import time
from collections.abc import Callable
from typing import TextIO

import psutil


class K6Progress:
    """Reads k6's log lines in a thread and its CPU time when asked.

    The scenario writes `costlab NAME started MILLISECONDS` when its first iteration runs (loadtests/lib/scenario.js);
    anything else k6 says is kept for an error message. CPU time is that of the process `find_pid` names.
    """

    def __init__(self, log: TextIO, find_pid: Callable[[], int | None]) -> None:
        self.starts: dict[str, float] = {}  # scenario -> unix time, cut to the millisecond
        self.cpu_seconds = math.nan
        self._find_pid = find_pid
        self._pid: int | None = None
        self._said: list[str] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    def refresh(self) -> None:
        """Take in what k6 has written and used so far."""
        while not self._lines.empty():
            match self._lines.get().split():
                case ["costlab", scenario, "started", milliseconds]:
                    self.starts[scenario] = int(milliseconds) / 1000
                case words if words:
                    self._said.append(" ".join(words))
        self._read_cpu()

    def last_words(self) -> str:
        """The end of what k6 said, on one line; to be called when it has ended."""
        self._reader.join(timeout=2)
        self.refresh()
        return " ".join(self._said[-5:]) or "no message"

    def share_done(self, settle: float, seconds: float) -> tuple[str, float] | None:
        """Phase and share of the whole load behind us; None before the first request."""
        now = time.time()
        if "measure" in self.starts:
            elapsed = settle + min(now - self.starts["measure"], seconds)
            return "measure", elapsed / (settle + seconds)
        if "settle" in self.starts:
            return "settle", min(now - self.starts["settle"], settle) / (settle + seconds)
        return None

    def _read(self, log: TextIO) -> None:
        for line in log:
            self._lines.put(line.strip())

    def _read_cpu(self) -> None:
        try:
            self._pid = self._pid or self._find_pid()
            if self._pid:
                times = psutil.Process(self._pid).cpu_times()
                self.cpu_seconds = times.user + times.system
        except psutil.NoSuchProcess:
            return  # it has just ended; the reading before this one stands
