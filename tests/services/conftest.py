"""A prepared database, and services as they run: real PostgreSQL, real Redis, real HTTP between them."""

import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from flask import Flask
from prometheus_client import REGISTRY
from psycopg2 import sql
from psycopg2.extensions import connection
from redis import Redis
from redis.exceptions import RedisError
from werkzeug.serving import make_server

from costlab.stack import binaries
from services.prepare import PrepareSettings, prepare
from tests.conditions import eventually

PASSWORD = "costlab"


@dataclass(frozen=True)
class PreparedDatabase:
    """A database as ``python -m services.prepare`` leaves it."""

    admin_url: str
    token_file: Path
    reported: list[str]
    cpu_seconds: float

    def url(self, role: str) -> str:
        """The database as ``role``."""
        host = urlsplit(self.admin_url).netloc.rpartition("@")[2]
        return urlsplit(self.admin_url)._replace(netloc=f"{role}:{PASSWORD}@{host}").geturl()

    @contextmanager
    def connect(self, role: str | None = None) -> Iterator[connection]:
        """A connection in autocommit mode, as ``role`` or as the superuser."""
        with closing(psycopg2.connect(self.url(role) if role else self.admin_url)) as link:
            link.autocommit = True
            yield link

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What the superuser sees."""
        with self.connect() as link, link.cursor() as statements:
            statements.execute(statement, parameters)
            return statements.fetchall() if statements.description else []

    def one(self, statement: str, *parameters: object) -> Any:
        """The one value of a statement."""
        return self.rows(statement, *parameters)[0][0]


def prepared(admin_url: str, token_file: Path) -> PreparedDatabase:
    """Run prepare on the database at ``admin_url``."""
    reported: list[str] = []
    settings = PrepareSettings(token_file=token_file, admin_database_url=admin_url, role_password=PASSWORD)
    started = time.process_time()
    prepare(settings, reported.append)
    return PreparedDatabase(admin_url, token_file, reported, time.process_time() - started)


@pytest.fixture(scope="session")
def database(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> PreparedDatabase:
    """Prepared once for the session, seed data included."""
    return prepared(postgres_url, tmp_path_factory.mktemp("control") / "token")


@pytest.fixture
def fresh_database_url(postgres_url: str) -> Iterator[str]:
    """A database of the test's own, empty."""
    name = f"test_{secrets.token_hex(6)}"
    with closing(psycopg2.connect(postgres_url)) as link:
        link.autocommit = True
        with link.cursor() as statements:
            statements.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
            statements.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


class MortalRedis:
    """A Redis of one test, without a file: killed, it has lost everything."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Return when it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [binaries.redis().program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(self._answers, within=10)

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def _answers(self) -> bool:
        with Redis.from_url(self.url) as client, suppress(RedisError):
            return client.ping()
        return False


@pytest.fixture
def mortal_redis() -> Iterator[MortalRedis]:
    """A Redis that the test may kill and start again."""
    redis = MortalRedis()
    redis.start()
    yield redis
    redis.kill()


@contextmanager
def running(create_app: Callable[[], Flask], environment: dict[str, str]) -> Iterator[Flask]:
    """The service of ``create_app``, started as gunicorn's hooks start it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(f"COSTLAB_{name}", value)
        app = create_app()
    app.extensions["costlab"].start()
    try:
        yield app
    finally:
        app.extensions["costlab"].stop()


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """``app`` behind a socket; its base URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def counted() -> Iterator[Callable[[], int]]:
    """How many statements services of this process have sent to PostgreSQL since."""
    before = _statements()
    yield lambda: _statements() - before


def _statements() -> int:
    return int(REGISTRY.get_sample_value("costlab_db_queries_total") or 0)
