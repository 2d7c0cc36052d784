"""Carries out what takes work when a flag changes (build an index, build a catalogue anew), beside the requests.

    flag changes ──► costlab_flag_pending{flag} = 1 ──► a thread of this process does the work ──► 0

A run that waits for 0 in every process begins with the flag in force. The work is done again, with a pause, for as long
as it fails, and once more when the flag has changed in the meantime.
"""

import threading
from collections.abc import Callable

from costlab.service import logs, metrics
from costlab.service.flags import Flags

RETRY_SECONDS = 0.5


class FlagFollower:
    """``work`` brings the process closer to what ``flag`` says and returns the value that is in force then."""

    def __init__(self, flags: Flags, flag: str, work: Callable[[], str]) -> None:
        self._flags = flags
        self._flag = flag
        self._work = work
        self._in_force: str | None = None
        self._due = threading.Event()
        self._stopped = threading.Event()
        # A change that comes while the last one is being reported done must not be reported done with it.
        self._reporting = threading.Lock()
        self._thread: threading.Thread | None = None
        flags.on_change(self._note)

    def start(self) -> None:
        """Make what the flag says now, then follow it."""
        self._note()
        # Made here: one made before a fork counts as ended after it.
        self._thread = threading.Thread(target=self._run, name=self._flag, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following; work at hand is left behind when it takes long."""
        self._stopped.set()
        self._due.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * RETRY_SECONDS)

    @property
    def stopped(self) -> threading.Event:
        """Set once nobody wants the work any more."""
        return self._stopped

    @property
    def in_force(self) -> str | None:
        """The value last made; None before the first."""
        return self._in_force

    def _note(self) -> None:
        with self._reporting:
            if self._flags[self._flag] != self._in_force:
                metrics.FLAG_PENDING.labels(self._flag).set(1)
                self._due.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._due.wait()
            self._due.clear()
            while not self._stopped.is_set() and not self._settled():
                self._try()

    def _try(self) -> None:
        try:
            made = self._work()
        except Exception as error:  # noqa: BLE001 - a thread that gave up would leave the flag pending for ever
            reason = str(error).strip()
            logs.get("flags").warning("flag.not_in_force", extra={"flag": self._flag, "reason": reason})
            self._stopped.wait(RETRY_SECONDS)
        else:
            self._in_force = made

    def _settled(self) -> bool:
        with self._reporting:
            if self._flags[self._flag] != self._in_force:
                return False
            metrics.FLAG_PENDING.labels(self._flag).set(0)
            return True
