"""Chaos: break a running stack on purpose, see what is broken, and get it back. The command line and the lab use this.

    chaos = Chaos(stack)
    record = chaos.add({"fault": "latency", "on": "users", "edge": "postgres", "ttl": 30, "parameters": {"ms": 50}})
    chaos.status()      # [record]
    chaos.clear()

Each level of faults is made in its own place, behind one interface:

    Chaos ─┬► Level process   costlab/stack/process_faults.py: kill, terminate, restart, pause
           ├► Level wire      costlab/stack/wire_faults.py: between a service and what it calls, by toxiproxy
           ├► Level service   costlab/stack/service_faults.py: in the processes, over their internal ports
           └► Level input     costlab/stack/input_faults.py: nothing is wrong but what the system is given

A fault is in force once ``add`` has returned, and ends by itself at its time, whatever becomes of who asked for it.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from costlab.failure import Failure
from costlab.service.faults import BadFault, Record, Registry, Wish
from costlab.stack import Stack
from costlab.stack.input_faults import InputFaults
from costlab.stack.kept_faults import attempt_all
from costlab.stack.process_faults import ProcessFaults, wait_until_back
from costlab.stack.service_faults import ServiceFaults
from costlab.stack.wire_faults import WireFaults


class ChaosError(Failure):
    """A fault that cannot be made, or taken away; the message says why."""


class Level(Protocol):
    """Where faults of one level are made. What goes wrong is a Failure or BadFault with the reason."""

    def apply(self, wish: Wish) -> Record:
        """Make the fault; returns once it is in force everywhere it has to be."""

    def remove(self, identity: str) -> bool:
        """End one fault; returns once it has ended. False when this level has none of that id."""

    def clear(self) -> int:
        """End all; returns once they have ended. How many there were."""

    def active(self) -> list[Record]:
        """What is in force now."""


# In the order in which they are cleared: what is paused, cut off or hangs cannot be told anything.
LEVELS: dict[str, Callable[[Stack], Level]] = {
    "process": ProcessFaults,
    "wire": WireFaults,
    "service": ServiceFaults,
    "input": InputFaults,
}


class Chaos:
    """The faults of ``stack``, on all levels."""

    def __init__(self, stack: Stack) -> None:
        self.registry = Registry.load()
        self._stack = stack
        self._levels = {name: make(stack) for name, make in LEVELS.items()}

    def add(self, document: Mapping[str, object]) -> Record:
        """Make the fault in ``document`` (the fields of Wish) and return once it is in force."""
        try:
            wish = self.registry.wish(document)
            level = self.registry[wish.fault].level
            if level not in self._levels:
                raise BadFault(f"{wish.fault} cannot be made on this stack")
            return self._levels[level].apply(wish)
        except BadFault as error:
            raise ChaosError(str(error)) from error

    def kill(self, service: str, signal: str = "KILL") -> float:
        """Kill ("KILL") or terminate ("TERM") ``service``; the seconds until its successor was healthy."""
        fault = {"KILL": "kill", "TERM": "terminate"}[signal]
        return wait_until_back(self._stack, service, lambda: self.add({"fault": fault, "on": service}))

    def remove(self, identity: str) -> None:
        """End the fault of that id."""
        if not any(level.remove(identity) for level in self._levels.values()):
            active = ", ".join(record.id for record in self.status())
            raise ChaosError(f"no fault {identity!r} is active; active: {active or 'none'}")

    def clear(self) -> int:
        """End every fault, on all levels, even when one of them fails; how many there were."""
        return attempt_all(level.clear for level in self._levels.values())

    def status(self) -> list[Record]:
        """Every fault in force now, on all levels, the next to end first."""
        active = [record for level in self._levels.values() for record in level.active()]
        return sorted(active, key=lambda record: record.until)
