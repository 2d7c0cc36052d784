"""Serial: one consumer, one job after the other, whatever ``worker.size`` says.

Example: a job of 2 ms CPU and 10 ms waiting is done 83 times a second, and the process idles five sixths of the time.
Trade-off: jobs never overlap and are done in the order of the stream; nothing hides their waiting.
Use instead: ``threads`` when jobs wait, ``processes`` when they compute.
Units: consumers. Source: the baseline of every scalability law: what one does alone.
"""

from collections.abc import Callable

from services.worker.consumer import Consumer
from services.worker.pools.threads import ThreadPool


class SerialPool(ThreadPool):
    """A single consumer."""

    kind = "serial"

    def __init__(self, _size: int, life: str, make: Callable[[str], Consumer]) -> None:
        super().__init__(1, life, make)
