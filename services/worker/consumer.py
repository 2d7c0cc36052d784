"""A consumer: take jobs, do them, commit their effects, and only then acknowledge them.

    next jobs ─► parse ─► work ─► commit effects and keys (settlement.py) ─► acknowledge
                  │ no job  │ fails          │ database away
                  ▼         ▼                ▼
              dead letter   stays pending,   wait until it answers;
                            claimed again;   not counted against the job
                            the 5th time: dead letter

A crash anywhere before the acknowledgement leaves the entry pending; it is claimed and done again, and the key makes
the effect happen once. A job whose consumer died is done alone: should it be what kills them, it takes no other along.

How many entries it reads at once is the flag ``worker.prefetch``, how many jobs share a transaction ``worker.batch``.
A batch is committed when it is full, when nothing more waits, or after BATCH_SECONDS. What is in hand meanwhile is
held: a sign of life in time keeps others from claiming it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from costlab.service import context, logs, metrics
from costlab.service.flags import Flags
from costlab.service.tracing import SpanKind, StatusCode, Tracing
from services.worker import job as jobs
from services.worker.job import Job, Malformed, Work
from services.worker.job_stream import BLOCK_MS, STREAM, Delivery, JobStream
from services.worker.settlement import RETRY_SECONDS, Settlement, Stopping, Task
from services.worker.store import FulfilmentStore

LOOK_SECONDS = 1.0
TIDY_SECONDS = 30.0
BATCH_SECONDS = 10.0
# While something waits to be acknowledged, the wait for the next job is as short as that.
SHORT_BLOCK_MS = 50
# Far longer than a living consumer is ever silent: it asks every BLOCK_MS, and a job takes at most seconds.
SILENT_MS = 60_000


class Consumer:
    """One consumer of the stream, run by one thread. ``attempts`` failures make a job a dead letter."""

    def __init__(
        self,
        stream: JobStream,
        work: Work,
        store: FulfilmentStore,
        tracing: Tracing,
        flags: Flags,
        attempts: int,
        claim_ms: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._work = work
        self._tracing = tracing
        self._flags = flags
        self._attempts = attempts
        self._claim_ms = claim_ms
        self._clock = clock
        self._prefetched: deque[Delivery] = deque()
        self._settlement = Settlement(stream, store, flags, self._prefetched, claim_ms, clock)
        self._look_seconds = min(LOOK_SECONDS, claim_ms / 2000)
        self._look_at = self._tidy_at = self._hold_at = 0.0
        self._jobs = metrics.Children(metrics.JOBS)
        # There from the start, or Prometheus would take the first dead job for where its count began.
        _ = self._jobs["dead",]
        self._backlog = metrics.STREAM_BACKLOG.labels(STREAM)
        self._away = False

    def run(self, stopped: threading.Event) -> None:
        """Take jobs until ``stopped``; those worked by then are settled first, those only read are given back."""
        while not stopped.is_set():
            try:
                self.step(stopped)
                self._away = False
            except Stopping:
                break
            except RedisError as error:
                if not self._away:
                    logs.get("consumer").warning("consumer.redis_away", extra={"reason": str(error)})
                self._away = True
                stopped.wait(RETRY_SECONDS)
            except Exception:  # noqa: BLE001 - a bug must be seen, and must not stop the stream for good
                logs.get("consumer").exception("consumer.failed")
                stopped.wait(RETRY_SECONDS)
        self._leave()

    def step(self, stopped: threading.Event) -> None:
        """Take a batch of jobs, if there are any, and see it through."""
        self._hold()
        suspect = self._suspect()
        if suspect is not None:
            self._begin(suspect)
        else:
            self._fill(stopped)
        self._fail_all(self._settlement.commit(stopped))
        self._settled(self._settlement.acknowledge())

    def _suspect(self) -> Delivery | None:
        """A job whose consumer died. Jobs that were only given back join those read ahead."""
        while (claimed := self._claim()) is not None:
            if claimed.count > 1:
                return claimed
            self._prefetched.append(claimed)
            if len(self._prefetched) >= self._flags["worker.prefetch"]:
                break
        return None

    def _claim(self) -> Delivery | None:
        """A job that nobody has in hand any more; looked for now and then."""
        now = self._clock()
        if now >= self._look_at:
            claimed = self._stream.claim(self._claim_ms)
            if claimed is not None and claimed.id in {delivery.id for delivery in self._settlement.in_hand()}:
                # Silent because this thread was kept waiting for the processor, not because it died: its own already.
                self._stream.postpone([claimed])
            elif claimed is not None:
                metrics.JOBS_CLAIMED.inc()
                return claimed
            self._look_at = now + self._look_seconds
            self._backlog.set(self._stream.backlog())
        if now >= self._tidy_at:
            self._stream.remove_dead_consumers(SILENT_MS)
            self._tidy_at = now + TIDY_SECONDS
        return None

    def _fill(self, stopped: threading.Event) -> None:
        """Do jobs until the batch is to be committed."""
        batch = self._settlement.batch
        until = self._clock() + BATCH_SECONDS
        while len(batch) < self._flags["worker.batch"] and not stopped.is_set() and self._clock() < until:
            self._hold()
            if not self._prefetched and not self._read():
                return
            self._begin(self._prefetched.popleft())

    def _read(self) -> bool:
        """Read ahead; False when there is nothing, for which it waits only if there is nothing else to do."""
        idle_ms = SHORT_BLOCK_MS if self._settlement.waits else BLOCK_MS
        block_ms = 0 if self._settlement.batch else idle_ms
        self._prefetched.extend(self._stream.read(self._flags["worker.prefetch"], block_ms))
        if self._prefetched:
            metrics.JOBS_READ.observe(len(self._prefetched))
        return bool(self._prefetched)

    def _hold(self) -> None:
        now = self._clock()
        if now < self._hold_at:
            return
        if in_hand := self._settlement.in_hand():
            self._stream.hold(in_hand)
        self._hold_at = now + self._claim_ms / 3000

    def _begin(self, delivery: Delivery) -> None:
        """Do the job of ``delivery``, up to its effect."""
        if delivery.count > self._attempts:
            self._bury(delivery, f"delivered {self._attempts} times and never finished: its consumers died")
            return
        try:
            task = self._task(jobs.parse(delivery.fields), delivery)
        except Malformed as error:
            self._bury(delivery, str(error))
            return
        try:
            with _within(task):
                self._work.do(task.job)
        except Exception as error:  # noqa: BLE001 - whatever a job does wrong, the next job must get its turn
            self._fail(task, error)
            return
        self._settlement.batch.append(task)

    def _task(self, job: Job, delivery: Delivery) -> Task:
        """The job in the trace of the request that placed the order; its key stands for the request id."""
        request = context.Request(context.request_id(job.key.replace(":", "-")))
        span = self._tracing.enter(request, job.traceparent, f"process {STREAM}", SpanKind.CONSUMER)
        if span is not None and delivery.count > 1:
            span.set_attribute("costlab.delivery", delivery.count)
        return Task(delivery, job, request, span, self._clock())

    def _settled(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self._jobs["done" if task.new else "duplicate",].inc()
            self._end(task)

    def _fail_all(self, refused: Iterable[tuple[Task, Exception]]) -> None:
        for task, error in refused:
            self._fail(task, error)

    def _fail(self, task: Task, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        with _within(task):
            logs.get("consumer").warning("job.failed", exc_info=error, extra={"deliveries": task.delivery.count})
            if task.span is not None:
                task.span.set_status(StatusCode.ERROR, reason)
            self._end(task)
            if task.delivery.count >= self._attempts:
                self._bury(task.delivery, reason)
            else:
                self._jobs["failed",].inc()

    def _end(self, task: Task) -> None:
        metrics.JOB_SECONDS.observe(self._clock() - task.started)
        if task.span is not None:
            task.span.end()

    def _bury(self, delivery: Delivery, reason: str) -> None:
        if self._stream.bury(delivery, reason):
            logs.get("consumer").error(
                "job.dead", extra={"reason": reason, "entry": delivery.id.decode(), "deliveries": delivery.count}
            )
            self._jobs["dead",].inc()

    def _leave(self) -> None:
        try:
            self._settled(self._settlement.leave())
            self._stream.release(self._settlement.in_hand(), self._claim_ms)
            self._stream.leave()
        except RedisError as error:
            logs.get("consumer").warning("consumer.not_removed", extra={"reason": str(error)})


@contextmanager
def _within(task: Task) -> Iterator[None]:
    """What is logged and traced in the block belongs to ``task``."""
    context.enter(task.request)
    try:
        yield
    finally:
        context.enter(None)
