"""Readings of a running stack: every instance's metrics, CPU and memory, flags and faults, all asked at once.

Whoever does not answer is away in that reading, and keeps nobody waiting for longer than ANSWER_SECONDS of control.py.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from costlab.failure import Failure
from costlab.seeing import rates
from costlab.seeing.live import Reading, Scrape
from costlab.service.faults import Record
from costlab.service.flags import Registry
from costlab.stack import Stack, Usage
from costlab.stack.chaos import Chaos
from costlab.stack.control import Control, ControlError


@dataclass(frozen=True)
class Situation:
    """What is not as it is by default. ``flags`` and ``rollouts`` are None when no instance says, likewise ``faults``.

    ``rollouts``: value and percent by flag.
    """

    flags: Mapping[str, object] | None
    rollouts: Mapping[str, Mapping[str, object]] | None
    faults: list[Record] | None


class StackReader:
    """Reads ``stack``, again and again."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._instances = list(stack.internal_urls())
        self._control = Control(stack.internal_urls(), stack.token())
        self._chaos = Chaos(stack)
        self._defaults = Registry.load().defaults()

    def read(self) -> tuple[Reading, Situation]:
        """How everything is now."""
        with ThreadPoolExecutor(len(self._instances) + 2) as pool:
            usage = pool.submit(self._usage)
            faults = pool.submit(self._faults)
            scrapes = dict(zip(self._instances, pool.map(self._scrape, self._instances), strict=True))
        at, used = usage.result()
        there = [name for name, scrape in scrapes.items() if scrape is not None]
        return Reading(at, scrapes, used), Situation(*self._flags(there), faults.result())

    def _scrape(self, instance: str) -> Scrape | None:
        try:
            samples = self._control.metrics(instance)
        except (ControlError, ValueError):  # ValueError: cut off in the middle
            return None
        return Scrape(time.monotonic(), rates.keyed(samples))

    def _usage(self) -> tuple[float, dict[str, Usage] | None]:
        try:
            used = self._stack.usage()
        except Failure:
            used = None
        return time.monotonic(), used

    def _faults(self) -> list[Record] | None:
        try:
            return self._chaos.status()
        except Failure:
            return None

    def _flags(self, instances: list[str]) -> tuple[dict[str, object] | None, dict[str, dict] | None]:
        """Flags that are not at their defaults, and what is rolled out, as the first instance says that answers."""
        for instance in instances:
            try:
                values = self._control.flags(instance)
                rollouts = self._control.call("GET", "/rollouts", service=instance)["rollouts"]
            except ControlError:
                continue
            return {name: value for name, value in values.items() if value != self._defaults.get(name)}, rollouts
        return None, None
