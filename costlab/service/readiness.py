"""Readiness probe: should this replica be sent requests, and what happens when something behind it fails?

``shallow``         this process alone answers: what it must have loaded is there.
``deep``            also, everything the service depends on answers within PATIENCE_SECONDS.
``deep_fail_open``  as deep, but a replica stays in service, with a warning, when all its dependencies fail at once, or
                    one has failed for FAIL_OPEN_SECONDS: what is common to all replicas is no reason to drop one.

Example: three replicas share a database that begins to take 2 s for an answer. With deep, all three are unready after
the next probe and the service is gone, also for requests that need no database. With shallow nobody notices, and a
replica that alone has lost its network keeps failing its third of the requests. With deep_fail_open all three stay.

Trade-off: the deeper the probe, the more outages it can find, and cause. One that fails open hides, after ten seconds,
the lone replica that only cannot reach the database; the warning and the metric show it.

Use instead: shallow, and a balancer that ejects replicas by the answers they give; a deep check that only alarms.

What start-up waits for counts in every mode (and no process accepts requests before its kit has started). A check that
does not come back is not begun again: one that hangs costs one thread. Units: seconds on a monotonic clock.
Source: Yanacek, "Implementing health checks" (Amazon Builders' Library), fail open.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

# Less than the second for which those who probe wait.
PATIENCE_SECONDS = 0.75
FAIL_OPEN_SECONDS = 10.0

Check = Callable[[], None]


@dataclass(frozen=True)
class Result:
    """What a check said: "ok" or why not, after how many seconds."""

    said: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the check passed."""
        return self.said == "ok"


def perform(check: Check, clock: Callable[[], float] = time.monotonic) -> Result:
    """Run ``check``; whatever it raises is the reason."""
    started = clock()
    try:
        check()
    except Exception as error:  # noqa: BLE001 - any reason for not being ready is reported, not raised
        return Result(str(error) or type(error).__name__, clock() - started)
    return Result("ok", clock() - started)


class BoundedCheck:
    """A check of something that may hang: run in a thread, asked for its result for a limited time."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._running: _Run | None = None

    def begin(self) -> "_Run":
        """Start the check, unless the last one still runs."""
        with self._lock:
            if self._running is None or self._running.done.is_set():
                self._running = _Run(self._check)
            return self._running


class _Run:
    def __init__(self, check: Check) -> None:
        self.done = threading.Event()
        self._check = check
        self._started = time.monotonic()
        self._result: Result | None = None
        threading.Thread(target=self._perform, name="check", daemon=True).start()

    def _perform(self) -> None:
        self._result = perform(self._check)
        self.done.set()

    def result(self, patience: float) -> Result:
        """What it said within ``patience`` seconds from now."""
        if self.done.wait(patience) and self._result is not None:
            return self._result
        waited = time.monotonic() - self._started
        return Result(f"No answer for {waited:.1f} s.", waited)


def ask(checks: Mapping[str, BoundedCheck], patience: float = PATIENCE_SECONDS) -> dict[str, Result]:
    """All of ``checks`` at once, within ``patience`` seconds altogether."""
    runs = {name: check.begin() for name, check in checks.items()}
    deadline = time.monotonic() + patience
    return {name: run.result(max(0.0, deadline - time.monotonic())) for name, run in runs.items()}


class FailOpen:
    """Remembers since when each dependency has failed, from one probe to the next."""

    def __init__(self) -> None:
        self._failing_since: dict[str, float] = {}

    def warning(self, dependencies: Collection[str], failed: Collection[str], now: float) -> str | None:
        """Why to use a replica although ``failed`` of its ``dependencies`` do not answer; None: do not."""
        self._failing_since = {name: self._failing_since.get(name, now) for name in failed}
        if failed and len(failed) == len(dependencies):
            return "Nothing this service depends on answers; that is hardly this replica's fault."
        if failed and all(now - since >= FAIL_OPEN_SECONDS for since in self._failing_since.values()):
            return f"{', '.join(sorted(failed))}: no answer for {FAIL_OPEN_SECONDS:.0f} s and more."
        return None
