"""The faults of a block, each at its second of the measured stretch, and none of them left afterwards.

    [[faults]]               experiment.toml: 10 s into each block, for 5 s, users is slow to reach its database
    at = 10
    seconds = 5
    fault = "latency"
    on = "users"
    edge = "postgres"
    parameters = { ms = 50 }

A fault is asked for at its time and noted from the moment it is in force. It ends by its own clock; what is in force
when the block is over ends then, and the stack is asked whether any is left. Every variant of a round meets the same.
"""

import threading
import time
from collections.abc import Sequence
from typing import Protocol

from costlab.failure import Failure
from costlab.lab.block import FaultSeen
from costlab.lab.errors import LabError
from costlab.lab.experiment import PlannedFault
from costlab.service.faults import Record, Registry
from costlab.stack import Stack


class Chaos(Protocol):
    """What makes faults: costlab.stack.chaos.Chaos."""

    def add(self, document: dict[str, object]) -> Record: ...

    def clear(self) -> int: ...

    def status(self) -> list[Record]: ...


class Timeline:
    """One block's faults: ``start`` it ``elapsed`` seconds into the measured stretch, ``end`` it when that is over."""

    def __init__(self, chaos: Chaos, faults: Sequence[PlannedFault], seed: int) -> None:
        self._chaos = chaos
        self._faults = sorted(faults, key=lambda fault: fault.at)
        self._seed = seed
        self._registry = Registry.load()
        self._over = threading.Event()
        self._seen: list[Record] = []
        self._failure: Failure | None = None
        self._thread: threading.Thread | None = None

    def start(self, elapsed: float) -> None:
        """Begin, unless it has begun."""
        if self._thread is None and self._faults:
            began = time.monotonic() - elapsed
            self._thread = threading.Thread(target=self._follow, args=(began,), daemon=True)
            self._thread.start()

    def end(self, started_at: float) -> list[FaultSeen]:
        """What was in force, by seconds from ``started_at`` (Unix); LabError if a fault was not made, or is left."""
        over = time.time()
        self.abort()
        if self._failure is not None:
            raise LabError(f"a fault of the block could not be made: {self._failure}") from self._failure
        if len(self._seen) < len(self._faults):
            late = self._faults[len(self._seen)]
            raise LabError(f"the block was over before {late.fault} on {late.on} was in force; let it come earlier")
        return [
            FaultSeen(
                fault=record.fault,
                on=record.on,
                edge=record.edge,
                at=record.since - started_at,
                until=min(record.until, over) - started_at,
            )
            for record in self._seen
        ]

    def abort(self) -> None:
        """End every fault now; LabError if one is left."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self._faults:
            none_left(self._chaos)

    def _document(self, fault: PlannedFault) -> dict[str, object]:
        """The fault as it is asked for: where chance has a part in it, the same in every variant of a round, or, with a
        seed of its own, in every round."""
        seed = {"seed": self._seed} if self._registry[fault.fault].seeded else {}
        return seed | fault.document()

    def _follow(self, began: float) -> None:
        for fault in self._faults:
            if self._over.wait(max(0.0, began + fault.at - time.monotonic())):
                return
            try:
                self._seen.append(self._chaos.add(self._document(fault)))
            except Failure as failure:
                self._failure = failure
                return


def none_left(chaos: Chaos) -> None:
    """End every fault of the stack, and see that none is left."""
    chaos.clear()
    if left := chaos.status():
        raise LabError(f"a fault is still in force: {_words(left)} (costlab chaos clear)")


def refuse_active(chaos: Chaos) -> None:
    """LabError if the stack is broken already: a run would measure that."""
    if left := chaos.status():
        raise LabError(f"the stack has faults: {_words(left)}; end them (costlab chaos clear)")


def refuse_impossible(faults: Sequence[PlannedFault], stack: Stack) -> None:
    """LabError about a fault that ``stack`` cannot have, before anything is measured."""
    registry = Registry.load()
    names = [row.name for row in stack.status()] if faults else []
    for fault in faults:
        if fault.on not in names and fault.on.removesuffix("-1") not in names:
            raise LabError(f"{fault.fault} on {fault.on}: the stack has none; it has: {', '.join(names)}")
        if registry[fault.fault].level == "wire" and stack.toxiproxy_url() is None:
            raise LabError(
                f"{fault.fault}: calls on this stack do not go through toxiproxy: "
                "costlab down, then costlab up --wire; or --up and COSTLAB_WIRE=on"
            )


def _words(records: Sequence[Record]) -> str:
    return "; ".join(record.words() for record in records)
