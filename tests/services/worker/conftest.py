"""The worker's parts on a real stream and a real database, and a database that can be taken away."""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from psycopg2 import sql
from redis import Redis

from costlab.service import redis_client
from costlab.service.database import Database
from costlab.service.tracing import Tracing
from services import worker
from services.worker.consumer import Consumer
from services.worker.job import Work
from services.worker.job_stream import DEAD, GROUP, STREAM, JobStream
from services.worker.store import FulfilmentStore
from tests.conditions import eventually
from tests.services.redis_server import RedisServer

CLAIM_MS = 60
BLOCK_MS = 20
IDLE = Work(0, 0)


class Stream:
    """The job stream as a test sees it."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._orders = itertools.count(1)

    def place(self, order_id: int | None = None, **more: object) -> int:
        """Add an order's job, as the relay does; the order's id."""
        order_id = next(self._orders) if order_id is None else order_id
        payload = {"id": order_id, "lines": [{"product_id": 5, "quantity": 2}], **more}
        self.add(key=f"order:{order_id}", payload=json.dumps(payload), traceparent="")
        return order_id

    def add(self, **fields: str | bytes) -> bytes:
        return self.redis.xadd(STREAM, fields)

    def dead(self) -> list[dict[str, str]]:
        """The dead letters."""
        return [
            {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
            for _, fields in self.redis.xrange(DEAD)
        ]

    def pending(self) -> list[dict]:
        """What is delivered and not acknowledged."""
        return self.redis.xpending_range(STREAM, GROUP, "-", "+", 100)

    def consumers(self) -> set[str]:
        return {row["name"].decode() for row in self.redis.xinfo_consumers(STREAM, GROUP)}

    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.redis.xlen(STREAM) == 0


class WorkerDatabase:
    """A database with the worker's schema, which can be taken away and given back."""

    def __init__(self, url: str, admin_url: str) -> None:
        self.url = url
        self._admin_url = admin_url
        self._name = url.rpartition("/")[2]

    def rows(self, statement: str) -> list[tuple]:
        with closing(psycopg2.connect(self.url)) as link, link, link.cursor() as statements:
            statements.execute(statement)
            return statements.fetchall() if statements.description else []

    def fulfilled(self) -> dict[int, int]:
        """Deliveries it took, by order."""
        return dict(self.rows("select order_id, deliveries from fulfilments"))

    def take_away(self) -> None:
        """Refuse new connections and end those there are."""
        self._allow("false")
        self._admin("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [self._name])

    def give_back(self) -> None:
        self._allow("true")

    def _allow(self, allowed: str) -> None:
        statement = sql.SQL("alter database {} allow_connections {}")
        self._admin(statement.format(sql.Identifier(self._name), sql.SQL(allowed)))

    def _admin(self, statement, parameters=()) -> None:
        with closing(psycopg2.connect(self._admin_url)) as link:
            link.autocommit = True
            with link.cursor() as statements:
                statements.execute(statement, parameters)


@pytest.fixture(scope="session")
def redis_of_the_worker(tmp_path_factory) -> Iterator[RedisServer]:
    """A Redis that tests of the worker may kill; they leave it running."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(redis_of_the_worker) -> RedisServer:
    with Redis.from_url(redis_of_the_worker.url) as redis:
        redis.flushall()
    return redis_of_the_worker


@pytest.fixture
def stream(server) -> Iterator[Stream]:
    with Redis.from_url(server.url) as redis:
        yield Stream(redis)


@pytest.fixture(scope="session")
def worker_database(postgres_url) -> Iterator[WorkerDatabase]:
    name = "worker_tests"
    with closing(psycopg2.connect(postgres_url)) as link:
        link.autocommit = True
        with link.cursor() as statements:
            statements.execute(f"create database {name}")
            made = WorkerDatabase(f"{postgres_url.rpartition('/')[0]}/{name}", postgres_url)
            for migration in sorted(Path(worker.__file__).parent.glob("migrations/*.sql")):
                made.rows(migration.read_text())
            yield made
            statements.execute(f"drop database {name} with (force)")


@pytest.fixture
def database(worker_database) -> Iterator[WorkerDatabase]:
    worker_database.rows("truncate fulfilments")
    yield worker_database
    worker_database.give_back()


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def make(server, database, set_flags, spans) -> Iterator[Callable[..., Consumer]]:
    """``make(name="c", work=..., attempts=5, stream=JobStream, **{"worker.batch": 3})``: a consumer, not running."""
    opened = []
    flags = set_flags()
    tracing = Tracing("worker", flags, None)
    tracing._provider.add_span_processor(SimpleSpanProcessor(spans))
    kit = Database(database.url, flags, tracing, "tests")

    def consumer(
        name="c", work=IDLE, attempts=5, claim_ms=CLAIM_MS, stream=JobStream, store=FulfilmentStore, **values
    ) -> Consumer:
        opened.append(redis_client.connect(server.url, 2.0))
        entries = stream(opened[-1], name, BLOCK_MS)
        return Consumer(entries, work, store(kit), tracing, set_flags(**values), attempts, claim_ms)

    yield consumer
    kit.close()
    tracing.stop()
    for client in opened:
        client.close()


@contextmanager
def at_work(*consumers: Consumer) -> Iterator[threading.Event]:
    """Each consumer in a thread of its own, until the block ends or sets what it is given."""
    stopped = threading.Event()
    threads = [threading.Thread(target=consumer.run, args=[stopped]) for consumer in consumers]
    for thread in threads:
        thread.start()
    try:
        yield stopped
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def until_pending(stream: Stream, entries: int) -> None:
    """Wait until that many entries are in somebody's hands."""
    eventually(lambda: stream.redis.xinfo_groups(STREAM) and len(stream.pending()) == entries)
