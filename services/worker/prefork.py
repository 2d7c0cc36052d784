"""Prefork: a process that imports everything once and forks the consumers of a process pool, and new ones for the dead.

    python -m services.worker.prefork SIZE LIFE

It leaves when its standard input ends, after all its consumers have. It runs no thread and opens no connection itself,
so that a fork copies nothing that must not be shared; what it imported is shared until written to, and frozen for the
garbage collector, which would write to it.
"""

import gc
import os
import select
import signal
import sys
import threading
import time
from types import FrameType

from costlab.service import lifecycle, logs, metrics, redis_client
from costlab.service.circumstances import Circumstances
from costlab.service.database import Database
from costlab.service.fault_engine import FaultEngine
from costlab.service.flags import Flags, Registry
from costlab.service.settings import load
from costlab.service.tracing import Tracing
from services.worker.assembly import SERVICE, Assembly
from services.worker.pools import counted
from services.worker.pools.processes import ProcessPool
from services.worker.settings import WorkerSettings

# A consumer that cannot live is not made more often than that.
REPLACE_SECONDS = 1.0


class Prefork:
    """Keeps ``size`` consumer processes until ``stop``."""

    def __init__(self, size: int, life: str, settings: WorkerSettings) -> None:
        self._size = size
        self._life = life
        self._settings = settings
        self._lifeline, self._held = os.pipe()
        self._children: set[int] = set()
        self._made = 0
        self._make_at = 0.0

    def run(self) -> None:
        """Until standard input ends."""
        woken = _wake_on(signal.SIGCHLD, signal.SIGTERM)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while not self._told_to_leave(woken):
            self._bury_dead()
            self._fill_up()
        os.close(self._held)
        while self._children:
            self._bury_dead(wait=True)

    def _told_to_leave(self, woken: int) -> bool:
        """Wait for the end of standard input or of a child."""
        missing = len(self._children) < self._size
        pause = max(0.0, self._make_at - time.monotonic()) if missing else None
        ready, _, _ = select.select([sys.stdin, woken], [], [], pause)
        if woken in ready and bytes([signal.SIGTERM]) in os.read(woken, 4096):
            return True
        return sys.stdin in ready

    def _fill_up(self) -> None:
        if len(self._children) == self._size or time.monotonic() < self._make_at:
            return
        if self._made >= self._size:
            metrics.CONSUMERS_REPLACED.inc(self._size - len(self._children))
        while len(self._children) < self._size:
            name = f"{self._life}-{self._made}"
            self._made += 1
            child = os.fork()
            if child == 0:
                self._be_consumer(name)
            self._children.add(child)
        self._make_at = time.monotonic() + REPLACE_SECONDS

    def _bury_dead(self, wait: bool = False) -> None:
        while self._children:
            pid, status = os.waitpid(-1, 0 if wait else os.WNOHANG)
            if pid == 0:
                return
            self._children.discard(pid)
            lifecycle.forget_process(pid)
            if status:
                logs.get("consumer").error("consumer.died", extra={"status": os.waitstatus_to_exitcode(status)})

    def _be_consumer(self, name: str) -> None:
        """The whole life of a child; it never returns."""
        code = 1
        try:
            os.close(self._held)
            signal.set_wakeup_fd(-1)
            consume(name, self._settings, self._lifeline)
            code = 0
        except BaseException:  # noqa: BLE001 - the stack of the parent must not unwind in the child
            logs.get("consumer").exception("consumer.failed")
        finally:
            os._exit(code)


def consume(name: str, settings: WorkerSettings, lifeline: int) -> None:
    """Run one consumer until ``lifeline`` ends or SIGTERM comes."""
    stopped = threading.Event()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.set())
    threading.Thread(target=_await_end, args=[lifeline, stopped], name="lifeline", daemon=True).start()
    redis = redis_client.connect(settings.redis_url)
    registry = Registry.load()
    flags = Flags(registry, redis, metrics.FLAGS_REVISION.labels(SERVICE).set)
    faults = FaultEngine(SERVICE, redis, settings.internal_port())
    circumstances = Circumstances(registry, flags, faults)
    tracing = Tracing(SERVICE, flags, settings.otlp_endpoint, circumstances=circumstances.attributes)
    database = Database(settings.database_url, flags, tracing, SERVICE, faults.edge("postgres"))
    assembly = Assembly(settings, database, tracing, flags, faults.edge("redis"))
    flags.start()
    faults.start()
    tracing.start()
    with counted(ProcessPool.kind):
        assembly.consumer(name).run(stopped)
    tracing.stop()
    faults.stop()
    flags.stop()
    for part in (assembly, database, redis):
        part.close()
    lifecycle.forget_process(os.getpid())


def _await_end(lifeline: int, stopped: threading.Event) -> None:
    os.read(lifeline, 1)
    stopped.set()


def _wake_on(*numbers: int) -> int:
    """A descriptor that can be read when one of the signals has come; it gives their numbers."""
    read, write = os.pipe()
    for descriptor in (read, write):
        os.set_blocking(descriptor, False)

    def arrived(number: int, frame: FrameType | None) -> None:
        """Only the descriptor matters."""

    for number in numbers:
        signal.signal(number, arrived)
    signal.set_wakeup_fd(write)
    return read


def main() -> None:
    """The program."""
    settings = load(WorkerSettings, SERVICE)
    logs.configure(SERVICE, settings.log_level)
    gc.collect()
    gc.freeze()
    Prefork(int(sys.argv[1]), sys.argv[2], settings).run()


if __name__ == "__main__":
    main()
