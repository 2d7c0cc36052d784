"""Work that no client's deadline may cut short: it runs on threads of its own, as many as there is use for.

A call for several clients at once belongs to none of them. On the thread of the one who happened to come first it
would end with that one's patience.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue

from costlab.service import context, logs

Task = Callable[[], object]


class Background:
    """At most ``size`` tasks at once; threads start when needed and are kept for the next task."""

    def __init__(self, size: int) -> None:
        self._room = threading.Semaphore(size)
        self._idle = threading.Semaphore(0)
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def run(self, task: Task) -> bool:
        """Run ``task`` soon, for the current request but without its deadline; False when there is no room."""
        if not self._room.acquire(blocking=False):
            return False
        request = context.current()
        timeless = None if request is None else replace(request, deadline=None)
        self._tasks.put(lambda: self._run_for(timeless, task))
        if not self._idle.acquire(blocking=False):
            # A daemon, because an origin that hangs must not keep a process that is to end.
            thread = threading.Thread(target=self._work, name="background", daemon=True)
            self._threads.append(thread)
            thread.start()
        return True

    def stop(self) -> None:
        """Let the threads end once they have done what was asked of them; nothing new may be asked."""
        for _ in self._threads:
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            self._idle.release()
            self._room.release()

    def _run_for(self, request: context.Request | None, task: Task) -> None:
        context.enter(request)
        try:
            task()
        except Exception:  # noqa: BLE001 - the thread serves others too; whoever wanted to know is told by the task
            logs.get("background").exception("background.failed")
        finally:
            context.enter(None)
