"""The consumers of one process: a pool of the kind and size the flags say, changed while jobs come in.

    worker.pool, worker.size change ──► the old pool finishes what it has in hand ──► the new pool starts

What the old pool had read and not begun it gives back, and the new one claims that at once. A consumer has a name in
the group that no other life ever has: nobody takes a dead one for a living one, whose entries would be left alone.
"""

import os
import secrets
import socket
import threading
from collections.abc import Callable

from costlab.service import logs, metrics
from costlab.service.flags import Flags
from costlab.service.shutdown import KINDS
from services.worker.consumer import Consumer
from services.worker.pools import Pool
from services.worker.pools.processes import ProcessPool
from services.worker.pools.serial import SerialPool
from services.worker.pools.threads import ThreadPool
from services.worker.settings import WorkerSettings

CHECK_SECONDS = 1.0


class ConsumerPool:
    """The pool in force; ``make`` returns a consumer of this process for a name."""

    def __init__(self, flags: Flags, settings: WorkerSettings, make: Callable[[str], Consumer]) -> None:
        self._flags = flags
        self._settings = settings
        self._make = make
        self._changed = threading.Event()
        self._stopped = False
        self._wanted: tuple[str, int] | None = None
        self._pool: Pool | None = None
        self._switching = True
        self._keeper: threading.Thread | None = None

    def start(self) -> None:
        """Begin to take jobs."""
        self._flags.on_change(self._changed.set)
        # Made here: one made before a fork counts as ended after it.
        self._keeper = threading.Thread(target=self._keep, name="consumer-pool", daemon=True)
        self._keeper.start()

    def stop(self) -> None:
        """Take no more jobs; returns when those in hand are done, or as soon as service.shutdown wants it."""
        self._stopped = True
        self._changed.set()
        if self._keeper is not None:
            self._keeper.join()

    def check(self) -> None:
        """Raise when consumers that should run do not."""
        pool = self._pool
        if not self._switching and pool is not None and pool.alive() < pool.size:
            raise RuntimeError(f"{pool.alive()} of {pool.size} consumers are running")

    def _keep(self) -> None:
        """See to it, until told to stop, that the pool is the one the flags ask for, and whole."""
        while not self._stopped:
            try:
                self._switch(self._flags["worker.pool"], self._flags["worker.size"])
            except Exception:  # noqa: BLE001 - no memory or no process left, for instance: the next look may find some
                logs.get("consumer").exception("pool.not_started")
            self._changed.wait(CHECK_SECONDS)
            self._changed.clear()
        if self._pool is not None:
            self._pool.stop(KINDS[self._flags["service.shutdown"]].finished)

    def _switch(self, kind: str, size: int) -> None:
        pool = self._pool
        if pool is not None:
            whole = pool.alive() == pool.size
            if whole and self._wanted == (kind, size):
                return
            if not whole:
                logs.get("consumer").error("consumers.missing", extra={"alive": pool.alive(), "of": pool.size})
        self._switching = True
        if pool is not None:
            pool.stop()
            metrics.POOL_SWITCHES.inc()
        self._pool = self._build(kind, size)
        self._wanted = kind, size
        self._pool.start()
        self._switching = False

    def _build(self, kind: str, size: int) -> Pool:
        life = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        if kind == "processes":
            return ProcessPool(size, life, self._settings)
        return (SerialPool if kind == "serial" else ThreadPool)(size, life, self._make)
