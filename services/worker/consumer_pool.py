"""The consumers of one process: threads, each with a name in the group that no other process ever has.

A name lives as long as its process: after a restart nobody takes a dead consumer for a living one, whose entries
would then be left alone.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable

from services.worker.consumer import Consumer

STOP_SECONDS = 15.0


class ConsumerPool:
    """``size`` threads, each running a consumer that ``make`` returns for its name."""

    def __init__(self, size: int, make: Callable[[str], Consumer]) -> None:
        self._size = size
        self._make = make
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to take jobs."""
        life = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        for number in range(self._size):
            consumer = self._make(f"{life}-{number}")
            thread = threading.Thread(target=consumer.run, args=[self._stopped], name=f"consumer-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Take no more jobs; returns when those in hand are done."""
        self._stopped.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def check(self) -> None:
        """Raise unless every consumer is running."""
        alive = sum(thread.is_alive() for thread in self._threads)
        if alive < self._size:
            raise RuntimeError(f"{alive} of {self._size} consumers are running")
