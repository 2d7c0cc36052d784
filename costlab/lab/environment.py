"""Where a result was measured: machine, versions, commit."""

import hashlib
import os
import platform
import subprocess
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import psycopg2
import redis

from costlab.lab.catalogue import ROOT
from costlab.lab.errors import LabError
from costlab.lab.toml_file import Closed
from costlab.stack import Stack

# Tests, documents and other days change nothing about a run; that of the day itself stands in its result. What things
# cost does not either: a bill can be worked out again.
_CODE = ("costlab", "gateway", "services", "loadtests", "infra", "docker-compose.yml")
_PRICES = "infra/prices/"
_MACHINE = ("host", "system", "kernel", "cpu", "cores", "python", "versions", "target")
_PACKAGES = ("costlab", "flask", "gunicorn", "psycopg2-binary", "redis", "numpy", "plotly")


class Environment(Closed):
    """``commit`` is None outside a git clone; ``dirty``: files differed from that commit.

    ``code``: SHA-256 of every file that takes part in a run, committed or not, but what things cost (None in results of
    format 1). ``generator``: what load comes from, as blocks name it (None where it was not noted).
    """

    host: str
    system: str
    kernel: str
    cpu: str
    cores: int
    memory_bytes: int
    python: str
    versions: dict[str, str]
    target: str
    commit: str | None
    dirty: bool | None
    code: str | None = None
    generator: str | None = None


def describe(stack: Stack | None, generator: str | None = None) -> Environment:
    """This machine, this code, that stack; or none, where what is measured is no stack."""
    commit, dirty = _git()
    return Environment(
        host=platform.node(),
        system=platform.system(),
        kernel=platform.release(),
        cpu=_cpu(),
        cores=cores(),
        memory_bytes=psutil.virtual_memory().total,
        python=platform.python_version(),
        versions={name: _version(name) for name in _PACKAGES} | (_servers(stack) if stack else {}),
        target=stack.name if stack else "none",
        commit=commit,
        dirty=dirty,
        code=code(),
        generator=generator,
    )


def machine(environment: Environment) -> dict[str, object]:
    """What two measurements must have in common to be of the same machine."""
    return {name: getattr(environment, name) for name in _MACHINE}


def code(root: Path = ROOT) -> str:
    """What runs, as one figure: the same code has the same, wherever and from whichever commit."""
    digest = hashlib.sha256()
    for name in _CODE:
        for path in sorted([root / name, *(root / name).rglob("*")]):
            relative = path.relative_to(root).as_posix()
            if path.is_file() and path.suffix != ".pyc" and not relative.startswith(_PRICES):
                content = path.read_bytes()
                digest.update(f"{relative} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def cores() -> int:
    """Cores of this machine."""
    return os.cpu_count() or 1


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"


def _servers(stack: Stack) -> dict[str, str]:
    """Versions of PostgreSQL and Redis, as they say themselves."""
    try:
        with closing(psycopg2.connect(stack.dsn(), connect_timeout=3)) as link:
            postgres = link.server_version
        with redis.Redis.from_url(stack.redis_url(), socket_timeout=5) as client:
            server = client.info("server")
    except (psycopg2.Error, redis.RedisError) as error:
        raise LabError(f"a database of the stack does not answer: {str(error).strip().splitlines()[0]}") from error
    return {
        "PostgreSQL": f"{postgres // 10000}.{postgres % 10000}",
        server.get("server_name", "redis"): str(server.get("valkey_version") or server["redis_version"]),
    }


def _git() -> tuple[str | None, bool | None]:
    commit = _run("rev-parse", "HEAD")
    if commit is None:
        return None, None
    changed = _run("status", "--porcelain", "--untracked-files=no")
    return commit.strip(), bool(changed and changed.strip())


def _run(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout
