"""Faults of whole processes: kill -9, terminate, restart, and pause for a while. PostgreSQL and Redis included.

    kill        SIGKILL to every process of the service; the supervisor, or Docker, starts it again
    terminate   SIGTERM, as everybody who stops a process politely sends it; it is started again too
    restart     stopped in an orderly way and started, back when the call returns
    pause       nothing answers and nothing is refused, until the time is up (pausing.py)

What is killed or restarted has ended by the time this returns; only a pause lasts, and has a keeper that ends it.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import replace

from costlab.service.faults import BadFault, Record, Wish
from costlab.stack import ServiceStatus, Stack, StackError
from costlab.stack.kept_faults import KeptFaults

BACK_SECONDS = 90.0
_POLL_SECONDS = 0.1
_SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM}


class ProcessFaults:
    """The level "process" of chaos."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._kept = KeptFaults(stack.faults_folder, "process")

    def apply(self, wish: Wish) -> Record:
        """Done when this returns; that a killed service is back is for ``wait_until_back`` to see."""
        record = Record.of(wish, time.time())
        if wish.fault == "pause":
            self._pause(record)
            return record
        # A paused process would take no signal but SIGKILL, and a paused container not even that.
        self._kept.end_on([wish.on])
        if wish.fault == "restart":
            self._stack.restart(wish.on)
        else:
            self._stack.kill(wish.on, _SIGNALS[wish.fault])
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
        for other in self.active():
            if other.on == record.on:
                left = other.left(time.time())
                raise BadFault(
                    f"{record.on} is paused already, for another {left:.0f} s; costlab chaos clear {other.id}"
                )
        paused = self._stack.pausable(record.on)
        with self._kept.kept(record, paused.undo()) as better:
            paused.freeze()
            better(paused.undo())


def wait_until_back(stack: Stack, service: str, action: Callable[[], object]) -> float:
    """Do ``action``, which kills ``service``; return when its successor is healthy, with the seconds that took."""
    before, started = _row(stack, service).pid, time.monotonic()
    action()
    deadline = started + BACK_SECONDS
    while not _is_back(_row(stack, service), before):
        if time.monotonic() > deadline:
            raise StackError(
                f"{service} was not back {BACK_SECONDS:.0f} s after it was killed (costlab logs {service})"
            )
        time.sleep(_POLL_SECONDS)
    return time.monotonic() - started


def _is_back(row: ServiceStatus, before: int | None) -> bool:
    return row.healthy and row.pid != before


def _row(stack: Stack, service: str) -> ServiceStatus:
    rows = {row.name: row for row in stack.status()}
    if service not in rows:
        raise StackError(f"no service {service!r}; there are {', '.join(rows)}")
    return rows[service]
