"""What tests stand on: a real PostgreSQL and a real Redis of their own, and flags without a stack."""

import contextlib
import secrets
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg2
import pytest
from hypothesis import settings
from redis import Redis
from redis.exceptions import RedisError

from costlab.service.flags import Registry
from costlab.stack import binaries
from costlab.stack.database_folder import DatabaseFolder
from tests.conditions import eventually

TESTS = Path(__file__).parent

# No timing decides a test.
settings.register_profile("costlab", deadline=None)
settings.load_profile("costlab")


class FixedFlags:
    """Flags with given values and nobody to follow."""

    changed = ""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = Registry.load().defaults() | values

    def __getitem__(self, name: str) -> object:
        return self._values[name]


# First, or xdist has looked for groups before there are any.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For ``-n``: a file's tests stay in one process; those that share a stack are in four groups.

    Groups that come to the same process share its stack. "whole": files about the stack as a whole.
    """
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        group = item.path.relative_to(TESTS).as_posix()
        if "replicated_stack" in fixtures:
            group = "the replicated stack"
        elif "stack" in fixtures and "make" not in fixtures:  # which makes a stack for one test
            kind = next((word for word in ("effects", "fault", "lab") if word in item.path.name), "whole")
            group = f"a stack: {kind}"
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture
def set_flags():
    """``set_flags(**{"http.breaker": "breaker"})``: those values, the rest at their defaults."""
    return lambda **values: FixedFlags(Registry.load().parse(values))


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database of this test session, as its superuser."""
    folder = DatabaseFolder(tmp_path_factory.mktemp("postgres"))
    password, port = secrets.token_hex(8), _free_port()
    programs = folder.prepare(binaries.postgres(), password, "costlab")
    # Tests want the truth about transactions, not about power failures.
    settings = ["listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", "fsync=off"]
    if not programs.bundled:
        settings.append("shared_preload_libraries=pg_stat_statements")
    command = [programs.folder / "postgres", "-D", folder.data, *[f"-c{setting}" for setting in settings]]
    account = {"user": folder.account.uid, "group": folder.account.gid} if folder.account else {}
    url = f"postgresql://postgres:{password}@127.0.0.1:{port}/costlab"
    with _running(command, folder.path, **account):
        eventually(lambda: _answers(url), within=20)
        yield url
    folder.remove()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of this test session."""
    folder, port = tmp_path_factory.mktemp("redis"), _free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with _running([binaries.redis().program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""], folder):
        eventually(lambda: _pongs(url), within=10)
        yield url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of it, emptied for this test."""
    with Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


@contextlib.contextmanager
def _running(command: list[object], folder: Path, **options: int) -> Iterator[None]:
    # PostgreSQL takes SIGINT as "disconnect everybody and stop"; Redis stops at it too.
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(part) for part in command], cwd=folder, stdout=log, stderr=log, **options)
    try:
        yield
    finally:
        process.send_signal(2)
        process.wait(timeout=20)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def _answers(url: str) -> bool:
    try:
        psycopg2.connect(url, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def _pongs(url: str) -> bool:
    with Redis.from_url(url) as client:
        try:
            return client.ping()
        except RedisError:
            return False
