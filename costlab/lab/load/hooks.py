"""What the caller of a load wants to hear while it runs."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


def _nothing(*_: object) -> None:
    return None


@dataclass(frozen=True)
class Hooks:
    """Callbacks of one load, all called in the thread that called run_load.

    progressed(done, facts): about once a second; `done` is the share of the load behind us, 0 to 1; `facts` holds
    "phase" (settle or measure) and what the generator has counted in it, among others answered, failed and dropped.
    """

    progressed: Callable[[float, dict], None] = _nothing
    stop: threading.Event = field(default_factory=threading.Event)
    measure_started: Callable[[], None] = _nothing
    measure_ended: Callable[[], None] = _nothing
