"""Nobody else drives the stack: a run begins when the gateway has served nothing for a while.

A lab that was killed (kill -9) leaves its k6 running to its planned end, and somebody may try things out by hand.
Either would be part of what the first block measures.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from costlab.lab.errors import LabError

LOOK_SECONDS = 0.5
_SERVED = "http_server_request_duration_seconds_count"


class Metrics(Protocol):
    """What tells a service's samples: costlab.stack.control.Control."""

    def metrics(self, service: str) -> list[tuple[str, dict[str, str], float]]: ...


def wait(
    control: Metrics,
    patience: float,
    said: Callable[[str], None],
    stop: threading.Event,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return once nothing was served between two looks, or ``stop`` is set; LabError after ``patience`` seconds."""
    deadline, told = clock() + patience, False
    served = _served(control)
    while not stop.wait(LOOK_SECONDS):
        before, served = served, _served(control)
        if served <= before:
            return
        if not told:
            said("somebody else sends requests to this stack; waiting until they end")
            told = True
        if clock() > deadline:
            raise LabError(f"somebody else has sent requests to this stack for {patience:.0f} s: end that first")


def _served(control: Metrics) -> float:
    return sum(value for name, _, value in control.metrics("gateway") if name == _SERVED)
