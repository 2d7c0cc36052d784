"""Settling jobs that are worked: one transaction for a batch of effects, and one acknowledgement after it.

    add ──► batch ──► commit ──┬─ on disk ────────────────────────► acknowledge
              ▲                └─ not yet ──► flush barrier ──┬───► acknowledge
              └──────────── written again ◄── broken ─────────┘

A batch that is refused is done again one by one, so that one bad job fails alone. While the database is away the batch
waits, and no delivery of it counts. What Redis could not be told is told again; an acknowledgement can be repeated.
When Redis is away too, the batch is left as it is, jobs that were refused included, and committed when it is back.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from costlab.service import context, logs, metrics
from costlab.service.flags import Flags
from services.worker.flush_barrier import Broken
from services.worker.job import Job
from services.worker.job_stream import Delivery, JobStream
from services.worker.store import DatabaseAway, FulfilmentStore
from services.worker.writes import Row

if TYPE_CHECKING:
    from opentelemetry.trace import Span

RETRY_SECONDS = 0.5
FLUSH_SECONDS = 0.2


class Stopping(Exception):
    """The process leaves before the jobs could be settled; their entries stay for another one."""


@dataclass(eq=False)
class Task:
    """A job in hand, from its delivery until its entry is acknowledged. ``started`` is on the monotonic clock."""

    delivery: Delivery
    job: Job
    request: context.Request
    span: "Span | None"
    started: float
    new: bool = False

    def row(self) -> Row:
        """Its effect."""
        return Row(self.job.key, self.job.order.id, self.job.units(), self.delivery.count)


Refused = list[tuple[Task, Exception]]

# Neither is the job's doing.
_NOT_REFUSED = (Stopping, RedisError)


class Settlement:
    """The jobs of one consumer that are worked and not yet acknowledged. ``ahead`` is what it has read and not begun:
    kept from other consumers along with the rest.
    """

    def __init__(
        self,
        stream: JobStream,
        store: FulfilmentStore,
        flags: Flags,
        ahead: Collection[Delivery],
        claim_ms: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._store = store
        self._flags = flags
        self._ahead = ahead
        self._retry_seconds = min(RETRY_SECONDS, claim_ms / 2000)
        self._clock = clock
        self._barrier = store.barrier()
        self._flush_at = 0.0
        self.batch: list[Task] = []
        self._unflushed: list[Task] = []
        self._durable: list[Task] = []

    def in_hand(self) -> list[Delivery]:
        """Everything delivered to this consumer that is not acknowledged."""
        return [*self._ahead, *(task.delivery for task in (*self.batch, *self._unflushed, *self._durable))]

    @property
    def waits(self) -> bool:
        """Whether something committed is still to be acknowledged."""
        return bool(self._unflushed or self._durable)

    def commit(self, stopped: threading.Event) -> Refused:
        """Commit the batch; which jobs are refused, and why. Stopping, RedisError: what is not committed is kept."""
        if not self.batch:
            return []
        try:
            self._commit(self.batch, stopped)
            refused = []
        except _NOT_REFUSED:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a job does wrong, the others must be done
            refused = [(self.batch[0], error)] if len(self.batch) == 1 else self._one_by_one(stopped)
        self.batch = []
        return refused

    def acknowledge(self, force: bool = False) -> list[Task]:
        """Acknowledge what is on disk; which jobs that settles. ``force``: do not wait for the next barrier's turn."""
        self._flush(force)
        if not self._durable:
            return []
        self._stream.finish([task.delivery for task in self._durable])
        settled, self._durable = self._durable, []
        return settled

    def leave(self) -> list[Task]:
        """Acknowledge what is committed; which jobs that settles. The rest is for whoever claims it."""
        try:
            return self.acknowledge(force=True)
        finally:
            self._barrier.close()

    def _one_by_one(self, stopped: threading.Event) -> Refused:
        refused: Refused = []
        for task in list(self.batch):
            try:
                self._commit([task], stopped)
                self.batch.remove(task)
            except _NOT_REFUSED:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                refused.append((task, error))
        return refused

    def _commit(self, tasks: Sequence[Task], stopped: threading.Event) -> None:
        barrier = None if self._flags["worker.synchronous_commit"] == "on" else self._barrier
        rows = [task.row() for task in tasks]
        # The write belongs to one trace: that of the first job that has one.
        context.enter(next((task.request for task in tasks if task.span is not None), tasks[0].request))
        try:
            new = self._until_answered(lambda: self._store.add(rows, self._flags["worker.write"], barrier), stopped)
        finally:
            context.enter(None)
        metrics.JOB_BATCH.observe(len(tasks))
        for task in tasks:
            task.new = task.new or task.job.key in new
            new.discard(task.job.key)
        if barrier is None:
            self._durable += tasks
            if not self._unflushed:
                self._barrier.close()
            return
        if not self._unflushed:
            self._flush_at = self._clock() + FLUSH_SECONDS
        self._unflushed += tasks

    def _until_answered(self, write: Callable[[], set[str]], stopped: threading.Event) -> set[str]:
        """What ``write`` returns. Waits as long as the database is away; meanwhile no job in hand is taken over."""
        waiting = False
        while True:
            try:
                return write()
            except DatabaseAway as error:
                if not waiting:
                    logs.get("consumer").warning("consumer.database_away", extra={"reason": str(error)})
                waiting = True
                self._stream.postpone(self.in_hand())
                if stopped.wait(self._retry_seconds):
                    raise Stopping from error

    def _flush(self, force: bool) -> None:
        if not self._unflushed or not (force or self._clock() >= self._flush_at):
            return
        try:
            self._barrier.wait()
        except Broken as error:
            # The database may have crashed and forgotten these commits: they are made again, and the key decides.
            logs.get("consumer").warning("consumer.barrier_broken", extra={"reason": str(error)})
            self.batch, self._unflushed = [*self._unflushed, *self.batch], []
            return
        metrics.JOBS_FLUSHED.inc(len(self._unflushed))
        self._durable += self._unflushed
        self._unflushed = []
