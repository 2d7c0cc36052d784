"""Faults of whole processes: kill -9, terminate, restart, and pause for a while. PostgreSQL and Redis included.

    kill        SIGKILL to every process of the service; the supervisor, or Docker, starts it again
    terminate   SIGTERM, as everybody who stops a process politely sends it; it is started again too
    restart     stopped in an orderly way and started, back when the call returns
    pause       nothing answers and nothing is refused, until the time is up (pausing.py)

Where a service runs as several instances, all of them are met, or the one that ``on`` names.
What is killed or restarted has ended by the time this returns; only a pause lasts, and has a keeper that ends it.
"""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from costlab.service.faults import BadFault, Record, Wish
from costlab.stack import ServiceStatus, Stack, StackError
from costlab.stack.fault_teller import FaultTeller
from costlab.stack.kept_faults import KeptFaults, attempt_all
from costlab.stack.pausing import PausableTogether
from costlab.stack.service_faults import instances

BACK_SECONDS = 90.0
_POLL_SECONDS = 0.1
_SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM}


class ProcessFaults:
    """The level "process" of chaos."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._kept = KeptFaults(stack.faults_folder, "process", FaultTeller(stack))

    def apply(self, wish: Wish) -> Record:
        """Done when this returns; that a killed service is back is for ``wait_until_back`` to see."""
        record = Record.of(wish, time.time())
        if wish.fault == "pause":
            self._pause(record)
            return record
        names = _names(self._stack, wish.on)
        # A paused process would take no signal but SIGKILL, and a paused container not even that.
        self._kept.end_on(names)
        if wish.fault == "restart":
            self._stack.restart(*names)
        else:
            attempt_all(partial(self._stack.kill, name, _SIGNALS[wish.fault]) for name in names)
        return replace(record, until=record.since)

    def remove(self, identity: str) -> bool:
        """What is paused goes on at once."""
        return self._kept.end(identity)

    def clear(self) -> int:
        """Everything that is paused goes on at once."""
        return self._kept.clear()

    def active(self) -> list[Record]:
        """What is paused."""
        return self._kept.active()

    def _pause(self, record: Record) -> None:
        names = _names(self._stack, record.on)
        for other in [*self.active(), *self._kept.being_made()]:
            if set(names) & set(_names(self._stack, other.on)):
                left = other.left(time.time())
                raise BadFault(
                    f"{other.on} is paused already, for another {left:.0f} s; costlab chaos clear {other.id}"
                )
        paused = PausableTogether([self._stack.pausable(name) for name in names])
        with self._kept.kept(record, paused.undo()) as better:
            paused.freeze()
            better(paused.undo())


def wait_until_back(stack: Stack, service: str, action: Callable[[], object]) -> float:
    """Do ``action``, which kills ``service``; return when all of it is back and healthy, with the seconds it took."""
    names = _names(stack, service)
    before, started = {row.name: row.pid for row in _rows(stack, names)}, time.monotonic()
    action()
    deadline = started + BACK_SECONDS
    while late := [row.name for row in _rows(stack, names) if not row.healthy or row.pid == before[row.name]]:
        if time.monotonic() > deadline:
            raise StackError(
                f"{', '.join(late)}: not back {BACK_SECONDS:.0f} s after it was killed (costlab logs {late[0]})"
            )
        time.sleep(_POLL_SECONDS)
    return time.monotonic() - started


def _names(stack: Stack, on: str) -> list[str]:
    """The instances that ``on`` means. What it is when it is none of a service, PostgreSQL perhaps, the stack knows."""
    return instances(on, stack.internal_urls()) or [on]


def _rows(stack: Stack, names: Sequence[str]) -> list[ServiceStatus]:
    rows = {row.name: row for row in stack.status()}
    if unknown := [name for name in names if name not in rows]:
        raise StackError(f"no service {unknown[0]!r}; there are {', '.join(rows)}")
    return [rows[name] for name in names]
