"""A consumer: take a job, do it, commit its effect, and only then acknowledge it.

    next job ─► parse ─► work ─► commit effect and key ─► acknowledge
                  │ no job  │ fails          │ database away
                  ▼         ▼                ▼
              dead letter   stays pending,   wait until it answers;
                            claimed again;   not counted against the job
                            the 5th time: dead letter

A crash anywhere before the acknowledgement leaves the entry pending; it is claimed and done again, and the key makes
the effect happen once.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from costlab.service import context, logs, metrics
from costlab.service.tracing import StatusCode, Tracing
from services.worker import job as jobs
from services.worker.job import Job, Malformed, Work
from services.worker.job_stream import STREAM, Delivery, JobStream
from services.worker.store import DatabaseAway, FulfilmentStore

RETRY_SECONDS = 0.5
LOOK_SECONDS = 1.0
TIDY_SECONDS = 30.0
# Far longer than a living consumer is ever silent: it asks every BLOCK_MS, and a job takes at most seconds.
SILENT_MS = 60_000


class _Stopping(Exception):
    """The process leaves before the job could be done; the entry stays for another one."""


class Consumer:
    """One consumer of the stream, run by one thread. ``attempts`` failures make a job a dead letter."""

    def __init__(
        self,
        stream: JobStream,
        work: Work,
        store: FulfilmentStore,
        tracing: Tracing,
        attempts: int,
        claim_ms: int,
    ) -> None:
        self._stream = stream
        self._work = work
        self._store = store
        self._tracing = tracing
        self._attempts = attempts
        self._claim_ms = claim_ms
        self._look_seconds = min(LOOK_SECONDS, claim_ms / 2000)
        self._look_at = self._tidy_at = 0.0
        self._jobs = metrics.Children(metrics.JOBS)
        self._backlog = metrics.STREAM_BACKLOG.labels(STREAM)
        self._away = False

    def run(self, stopped: threading.Event) -> None:
        """Take jobs until ``stopped``; the one in hand is finished first."""
        while not stopped.is_set():
            try:
                self.step(stopped)
                self._away = False
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
        """Take one job, if there is one, and see it through."""
        delivery = self._next()
        if delivery is not None:
            self._see_through(delivery, stopped)

    def _next(self) -> Delivery | None:
        """A job whose consumer died, else a new one."""
        now = time.monotonic()
        if now >= self._look_at:
            claimed = self._stream.claim(self._claim_ms)
            if claimed is not None:
                metrics.JOBS_CLAIMED.inc()
                return claimed
            self._look_at = now + self._look_seconds
            self._backlog.set(self._stream.backlog())
        if now >= self._tidy_at:
            self._stream.remove_dead_consumers(SILENT_MS)
            self._tidy_at = now + TIDY_SECONDS
        return self._stream.read()

    def _see_through(self, delivery: Delivery, stopped: threading.Event) -> None:
        if delivery.count > self._attempts:
            self._bury(delivery, f"delivered {self._attempts} times and never finished: its consumers died")
            return
        try:
            job = jobs.parse(delivery.fields)
        except Malformed as error:
            self._bury(delivery, str(error))
            return
        with self._traced(job), metrics.JOB_SECONDS.time():
            self._attempt(job, delivery, stopped)

    def _attempt(self, job: Job, delivery: Delivery, stopped: threading.Event) -> None:
        try:
            self._work.do(job)
            new = self._commit(job, delivery, stopped)
        except _Stopping:
            return
        except RedisError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a job does wrong, the next job must get its turn
            self._fail(delivery, error)
            return
        self._stream.finish(delivery)
        self._jobs["done" if new else "duplicate",].inc()

    def _commit(self, job: Job, delivery: Delivery, stopped: threading.Event) -> bool:
        """Whether the effect is new. Waits as long as the database is away; meanwhile the job is not taken over."""
        waiting = False
        while True:
            try:
                return self._store.add(job, delivery.count)
            except DatabaseAway as error:
                if not waiting:
                    logs.get("consumer").warning("consumer.database_away", extra={"reason": str(error)})
                waiting = True
                self._stream.postpone(delivery)
                if stopped.wait(min(RETRY_SECONDS, self._claim_ms / 2000)):
                    raise _Stopping from error

    def _fail(self, delivery: Delivery, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        logs.get("consumer").warning("job.failed", exc_info=error, extra={"deliveries": delivery.count})
        request = context.current()
        if request is not None and request.span is not None:
            request.span.set_status(StatusCode.ERROR, reason)
        if delivery.count >= self._attempts:
            self._bury(delivery, reason)
        else:
            self._jobs["failed",].inc()

    def _bury(self, delivery: Delivery, reason: str) -> None:
        if self._stream.bury(delivery, reason):
            logs.get("consumer").error(
                "job.dead", extra={"reason": reason, "entry": delivery.id.decode(), "deliveries": delivery.count}
            )
            self._jobs["dead",].inc()

    def _leave(self) -> None:
        try:
            self._stream.leave()
        except RedisError as error:
            logs.get("consumer").warning("consumer.not_removed", extra={"reason": str(error)})

    @contextmanager
    def _traced(self, job: Job) -> Iterator[None]:
        """Do the job in the trace of the request that placed the order; its key stands for the request id."""
        request = context.Request(context.request_id(job.key.replace(":", "-")))
        span = self._tracing.enter(request, job.traceparent, f"process {STREAM}")
        context.enter(request)
        try:
            yield
        finally:
            context.enter(None)
            if span is not None:
                span.end()
