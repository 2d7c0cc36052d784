"""Pools: consumers where and as many as the flags say, and no job lost or done twice, whatever happens to them."""

import os
import signal

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from costlab.service.database import Database
from costlab.service.flags import Flags, FlagStore, Registry
from costlab.service.tracing import Tracing
from services.worker.assembly import Assembly
from services.worker.consumer_pool import ConsumerPool
from services.worker.pools.processes import ProcessPool
from services.worker.pools.serial import SerialPool
from services.worker.pools.threads import ThreadPool
from services.worker.settings import WorkerSettings
from tests.conditions import eventually
from tests.services.worker.conftest import WorkerDatabase

CLAIM_MS = 500
REGISTRY = Registry.load()


class Running:
    """A pool at work in this process, its flags in Redis as on a stack."""

    def __init__(self, server, database: WorkerDatabase) -> None:
        self.redis = Redis.from_url(server.url)
        self.flags = Flags(REGISTRY, self.redis)
        self.tracing = Tracing("worker", self.flags, None)
        self.database = Database(database.url, self.flags, self.tracing, "tests")
        given = WorkerSettings(
            redis_url=server.url, database_url=database.url, job_cpu_ms=0, job_wait_ms=1, job_claim_ms=CLAIM_MS
        )
        self.assembly = Assembly(given, self.database, self.tracing, self.flags)
        self.consumers = ConsumerPool(self.flags, given, self.assembly.consumer)

    def __enter__(self) -> "Running":
        self.flags.start()
        self.consumers.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.consumers.stop()
        self.flags.stop()
        self.tracing.stop()
        for part in (self.database, self.assembly, self.redis):
            part.close()

    def set(self, **values: object) -> None:
        FlagStore(self.redis, REGISTRY).set(values)

    def forked(self) -> list[psutil.Process]:
        """Consumer processes: the children of the prefork process."""
        programs = [child for child in psutil.Process().children() if "services.worker.prefork" in child.cmdline()]
        return [child for program in programs for child in program.children()]


@pytest.fixture
def pool(server, database):
    with Running(server, database) as running:
        yield running


def test_a_switch_of_pool_ends_with_the_kind_and_size_asked_for(pool, stream):
    def consumers(kind: type, size: int) -> bool:
        found = pool.consumers._pool
        return type(found) is kind and found.size == size == found.alive()

    eventually(lambda: consumers(ThreadPool, 4))
    pool.set(**{"worker.pool": "serial", "worker.size": 9})
    eventually(lambda: consumers(SerialPool, 1))
    pool.set(**{"worker.pool": "processes", "worker.size": 2})
    eventually(lambda: consumers(ProcessPool, 2) and len(pool.forked()) == 2, within=20)
    pool.set(**{"worker.pool": "threads", "worker.size": 3})
    eventually(lambda: consumers(ThreadPool, 3), within=20)
    assert pool.forked() == []
    pool.consumers.check()


def test_a_flag_that_is_none_of_the_pools_business_leaves_it_alone(pool):
    eventually(lambda: pool.consumers._pool is not None)
    before = pool.consumers._pool
    pool.set(**{"worker.batch": 7})
    eventually(lambda: pool.flags["worker.batch"] == 7)
    pool.set(**{"worker.size": 5})
    eventually(lambda: pool.flags["worker.size"] == 5 and pool.consumers._pool is not before)
    assert before.alive() == 0


def test_a_prefork_process_that_is_killed_is_replaced_and_its_consumers_leave(pool, stream, database):
    pool.set(**{"worker.pool": "processes", "worker.size": 2})
    eventually(lambda: len(pool.forked()) == 2, within=20)
    old = pool.forked()
    os.kill(old[0].ppid(), signal.SIGKILL)
    eventually(lambda: not any(child.is_running() for child in old), within=20)
    eventually(lambda: len(pool.forked()) == 2, within=20)
    orders = [stream.place() for _ in range(5)]
    eventually(stream.done, within=10)
    assert database.fulfilled() == dict.fromkeys(orders, 1)


def test_consumers_that_do_not_run_are_said_to_be_missing(pool):
    eventually(lambda: pool.consumers._pool is not None and not pool.consumers._switching)
    pool.consumers.check()
    pool.consumers.stop()
    with pytest.raises(RuntimeError, match="0 of 4 consumers are running"):
        pool.consumers.check()


# What a step of the property below may do. Sizes stay small: each consumer process costs a start.
_switches = st.fixed_dictionaries(
    {
        "worker.pool": st.sampled_from(["serial", "threads", "processes"]),
        "worker.size": st.integers(1, 3),
        "worker.prefetch": st.sampled_from([1, 2, 100]),
        "worker.batch": st.sampled_from([1, 3, 500]),
        "worker.write": st.sampled_from(["row", "batch", "copy"]),
        "worker.synchronous_commit": st.sampled_from(["on", "off"]),
    }
)


@given(steps=st.lists(st.tuples(st.integers(0, 40), _switches), min_size=1, max_size=4))
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_job_is_lost_or_done_twice_while_pools_are_switched(server, database, stream, steps):
    """Each job's effect is there, and every job was delivered once: no drain left one to be claimed and done again."""
    _forget(stream, database)
    with Running(server, database) as pool:
        orders = []
        for jobs, values in steps:
            orders += [stream.place() for _ in range(jobs)]
            pool.set(**values)
        eventually(stream.done, within=30)
    assert database.fulfilled() == dict.fromkeys(orders, 1)
    assert stream.dead() == []


@given(size=st.integers(1, 3), values=_switches, jobs=st.integers(1, 60), victims=st.integers(1, 3))
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_job_is_lost_or_done_twice_when_consumer_processes_are_killed(
    server, database, stream, size, values, jobs, victims
):
    """Kill -9 in the middle of the work: each effect is there exactly once, and nothing stays pending."""
    _forget(stream, database)
    with Running(server, database) as pool:
        pool.set(**values | {"worker.pool": "processes", "worker.size": size})
        eventually(lambda: len(pool.forked()) == size, within=20)
        orders = [stream.place() for _ in range(jobs)]
        for victim in pool.forked()[:victims]:
            victim.kill()
        eventually(stream.done, within=30)
        eventually(lambda: len(pool.forked()) == size, within=20)
    assert sorted(database.fulfilled()) == sorted(orders)
    assert stream.dead() == []


def _forget(stream, database) -> None:
    stream.redis.flushall()
    database.rows("truncate fulfilments")
