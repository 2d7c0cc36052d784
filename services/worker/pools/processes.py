"""Processes: ``size`` consumers, each in a process of its own with its own interpreter and connections.

    gunicorn worker ──► prefork.py (imports once, serves nothing) ──fork──► consumer, consumer, ...

Example: a job of 10 ms CPU. 4 threads do 100 a second, as one does; 2 processes on 2 cores do 200.
Trade-off: the cores are used and a crash takes one consumer's jobs only, but a consumer costs megabytes where a thread
costs kilobytes, and starting takes as long as the imports (about half a second, once for all of them).
Use instead: ``threads`` when jobs mostly wait.
Units: consumers. Source: Apache httpd, "prefork"; Python documentation, ``os.fork``.

The parent process has threads, and forking a process with threads is undefined; so it starts a program, and that one,
without threads, forks. Each holds an open pipe of the one above it: whoever dies, however it dies, closes it, and
those below finish the job in hand and leave.
"""

import os
import subprocess
import sys

from costlab.service import lifecycle, logs
from costlab.service.settings import PREFIX
from services.worker.pools import STOP_SECONDS
from services.worker.settings import WorkerSettings


class ProcessPool:
    """``size`` consumers below one prefork process, under the same ``settings`` as this one."""

    kind = "processes"

    def __init__(self, size: int, life: str, settings: WorkerSettings) -> None:
        self.size = size
        self._life = life
        self._settings = settings
        self._prefork: subprocess.Popen | None = None

    def start(self) -> None:
        """Begin to take jobs, once the program has started."""
        command = [sys.executable, "-m", "services.worker.prefork", str(self.size), self._life]
        given = {f"{PREFIX}{name.upper()}": str(value) for name, value in self._settings if value is not None}
        self._prefork = subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | given)

    def stop(self, patience: float = STOP_SECONDS) -> None:
        """Take no more jobs; returns when those in hand are done, or after ``patience`` seconds."""
        if self._prefork is None:
            return
        self._prefork.stdin.close()
        try:
            self._prefork.wait(patience)
        except subprocess.TimeoutExpired:
            logs.get("consumer").warning("consumers.late", extra={"seconds": patience})
            self._prefork.kill()
            self._prefork.wait()
        lifecycle.forget_dead_processes()

    def alive(self) -> int:
        """All or none: the prefork process replaces a consumer that died before anybody could count."""
        return self.size if self._prefork is not None and self._prefork.poll() is None else 0
