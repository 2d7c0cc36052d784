"""Every flag of the worker has its effect on the running stack, and no job is lost or done twice on the way."""

import itertools
import json
import os
import signal
import time
from contextlib import closing
from functools import partial

import psutil
import psycopg2
import pytest
from redis import Redis

from tests.conditions import eventually
from tests.e2e.test_effects import gunicorn, total

STREAM = "orders:placed"
_orders = itertools.count(time.time_ns())


class Worker:
    """The worker of the stack from outside: what it is sent, what it says, what the operating system shows of it."""

    def __init__(self, stack, control) -> None:
        self._stack = stack
        self._control = control
        self.redis = Redis.from_url(stack.redis_url())

    def send(self, jobs: int, **more: object) -> None:
        """That many jobs, all at once."""
        with self.redis.pipeline(transaction=True) as pipe:
            for order in itertools.islice(_orders, jobs):
                payload = {"id": order, "lines": [{"product_id": 5, "quantity": 2}], "cpu_ms": 0, "wait_ms": 0, **more}
                pipe.xadd(STREAM, {"key": f"order:{order}", "payload": json.dumps(payload), "traceparent": ""})
            pipe.execute()

    def do(self, jobs: int, **more: object) -> None:
        """Send jobs and wait until each was done, once."""
        done, others = self.outcomes()
        self.send(jobs, **more)
        eventually(lambda: self.redis.xlen(STREAM) == 0, within=30)
        eventually(lambda: self.outcomes() == (done + jobs, others))

    def outcomes(self) -> tuple[float, float]:
        """Jobs done, and jobs of which anything else became."""
        done = self.total("costlab_jobs_total", outcome="done")
        return done, self.total("costlab_jobs_total") - done

    def have_become(self, done: float, others: float) -> bool:
        """Whether outcomes are these."""
        return self.outcomes() == (done, others)

    def total(self, name: str, **labels: str) -> float:
        return total(self._control, "worker", name, **labels)

    def moves(self, name: str, by: float, jobs: int) -> bool:
        """Whether that many jobs move a metric by so much.

        Asked until it holds: a consumer that was waiting for a job when a flag was set reads once more as it was.
        """
        before = self.total(name)
        self.do(jobs)
        return self.total(name) - before == by

    def running(self) -> dict[str, float]:
        """Consumers by pool, those without any left out."""
        kinds = ("serial", "threads", "processes")
        found = {kind: self.total("costlab_worker_consumers", pool=kind) for kind in kinds}
        return {kind: consumers for kind, consumers in found.items() if consumers}

    def have(self, kind: str, size: int, **more: object) -> None:
        """Set pool and size and wait until that pool runs."""
        self._control.set_flags({"worker.pool": kind, "worker.size": size, **more})
        expected = {kind: 1 if kind == "serial" else size}
        eventually(lambda: self.running() == expected, within=30)

    def forked(self) -> list[psutil.Process]:
        """The consumer processes as the operating system shows them."""
        master = gunicorn(self._stack, "worker")
        children = master.children(recursive=True)
        apart = (master.pid, *(child.pid for child in master.children()))
        return [child for child in children if child.ppid() not in apart]

    def flush_barriers(self) -> int:
        """Connections to PostgreSQL whose last statement was a barrier."""
        with closing(psycopg2.connect(self._stack.dsn())) as link, link.cursor() as statements:
            statements.execute(
                "select count(*) from pg_stat_activity where usename = 'worker' and query like '%pg_logical_emit%'"
            )
            return statements.fetchone()[0]


@pytest.fixture
def worker(stack, control):
    seen = Worker(stack, control)
    with seen.redis:
        eventually(lambda: seen.redis.xlen(STREAM) == 0, within=30)
        eventually(lambda: seen.running() == {"threads": 4}, within=30)
        yield seen


def test_worker_pool_and_size_change_while_jobs_come_in(worker):
    """ "worker.pool", "worker.size": as many consumers as asked for, where asked for; every job done once."""
    for kind, size in (("serial", 7), ("processes", 2), ("threads", 7), ("threads", 3)):
        done, others = worker.outcomes()
        worker.send(40)
        worker.have(kind, size)
        assert len(worker.forked()) == (size if kind == "processes" else 0)
        worker.send(40)
        eventually(partial(worker.have_become, done + 80, others), within=30)


def test_worker_pool_of_processes_replaces_one_that_was_killed(worker):
    worker.have("processes", 2)
    victim = worker.forked()[0]
    os.kill(victim.pid, signal.SIGKILL)
    eventually(lambda: not victim.is_running(), within=10)
    eventually(lambda: len(worker.forked()) == 2, within=10)
    eventually(lambda: worker.running() == {"processes": 2}, within=10)
    worker.do(20)


def test_worker_prefetch_reads_several_jobs_at_once(worker, control):
    """ "worker.prefetch": 30 jobs are 30 reads at 1 and a single one at 100."""
    worker.have("serial", 1)
    eventually(lambda: worker.moves("costlab_jobs_read_count", by=30, jobs=30), within=20)
    control.set_flags({"worker.prefetch": 100})
    eventually(lambda: worker.moves("costlab_jobs_read_count", by=1, jobs=30), within=20)
    control.set_flags({"worker.prefetch": None})
    eventually(lambda: worker.moves("costlab_jobs_read_count", by=30, jobs=30), within=20)


def test_worker_batch_commits_several_jobs_together(worker, control):
    """ "worker.batch": 30 jobs are 30 transactions at 1 and two at 20."""
    worker.have("serial", 1)
    eventually(lambda: worker.moves("costlab_job_batch_size_count", by=30, jobs=30), within=20)
    control.set_flags({"worker.batch": 20, "worker.prefetch": 10})
    eventually(lambda: worker.moves("costlab_job_batch_size_count", by=2, jobs=30), within=20)
    control.set_flags({"worker.batch": None})
    eventually(lambda: worker.moves("costlab_job_batch_size_count", by=30, jobs=30), within=20)


@pytest.mark.parametrize(("write", "statements"), [("row", 30), ("batch", 1), ("copy", 3)])
def test_worker_write_decides_how_many_statements_a_batch_takes(worker, write, statements):
    """ "worker.write": 30 jobs in a transaction are 30 statements, one, or table, COPY and INSERT."""
    worker.have("serial", 1, **{"worker.write": write, "worker.batch": 30, "worker.prefetch": 30})
    eventually(lambda: worker.moves("costlab_db_queries_total", by=statements, jobs=30), within=20)


def test_worker_synchronous_commit_off_waits_for_the_disk_once_for_many_jobs(worker, control):
    """ "worker.synchronous_commit": off, jobs are acknowledged behind a barrier on a connection of its own; on, not."""
    worker.have("serial", 1)
    eventually(lambda: worker.moves("costlab_jobs_flushed_total", by=0, jobs=20), within=20)
    control.set_flags({"worker.synchronous_commit": "off"})
    eventually(lambda: worker.moves("costlab_jobs_flushed_total", by=20, jobs=20), within=20)
    assert worker.flush_barriers() == 1
    control.set_flags({"worker.synchronous_commit": None})
    eventually(lambda: worker.moves("costlab_jobs_flushed_total", by=0, jobs=20), within=20)
    eventually(lambda: worker.flush_barriers() == 0)
