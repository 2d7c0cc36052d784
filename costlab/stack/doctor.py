"""What this machine has for costlab, what each thing is for, and how to get what is missing."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from costlab.stack import StackError, binaries, ports

_PYTHONS = ((3, 11), (3, 14))
_CORES, _MEMORY_GB, _DISK_GB = 2, 2, 1
_SECONDS = 10


@dataclass(frozen=True)
class Finding:
    """One thing looked for: ``found`` says where and which version; ``needed`` by the local stack."""

    name: str
    ok: bool
    found: str
    purpose: str
    how: str
    needed: bool = False


def examine(state: Path) -> Iterator[Finding]:
    """Look at everything, one after the other; ``state`` is where the local stack keeps its data."""
    yield _python()
    yield _server("PostgreSQL", _postgres, "the database of the services", "postgresql")
    yield _server("Redis", _redis, "cache, job stream and flags", "redis")
    yield _supervisor()
    yield _ports()
    yield _k6()
    yield _beside("toxiproxy", "faults on the wire (costlab up --wire)")
    yield from _docker()
    yield _beside("Prometheus", "metrics of a local stack, its rules and alerts (Compose brings its own)")
    yield _beside("Grafana", "dashboards of a local stack (Compose brings its own)")
    yield _beside("Jaeger", "traces of a local stack (Compose brings its own)")
    yield _cores()
    yield _memory()
    yield _disk(state)


def _python() -> Finding:
    suits = _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]
    where = f"{platform.python_version()}, {sys.executable}"
    return Finding("Python", suits, where, "everything", "install Python 3.11 to 3.14, then make", needed=True)


def _server(name: str, find: Callable[[], str], purpose: str, package: str) -> Finding:
    try:
        return Finding(name, True, find(), purpose, "", needed=True)
    except StackError as error:
        return Finding(name, False, str(error).partition(":")[0], purpose, _install(package), needed=True)


def _postgres() -> str:
    found = binaries.postgres()
    counting = "" if found.has_statements else ", without pg_stat_statements: queries are counted by the services"
    return f"{found.version}, {found.folder}{counting}"


def _redis() -> str:
    found = binaries.redis()
    return f"{found.version}, {found.program}"


def _supervisor() -> Finding:
    try:
        found, ok = version("supervisor"), True
    except PackageNotFoundError:
        found, ok = "not found", False
    return Finding("supervisor", ok, found, "keeps the local services running", "make (it is in the lock file)", True)


def _ports() -> Finding:
    taken = ports.taken(os.environ)
    busy = f"in use: {', '.join(map(str, taken))}" if taken else "free"
    how = f"nothing, if that is your stack; else COSTLAB_PORT_BASE={ports.free_base()}" if taken else ""
    return Finding("ports", not taken, f"from {ports.base(os.environ)} on, {busy}", "the local stack", how)


def _k6() -> Finding:
    path = os.environ.get("K6") or shutil.which("k6")
    answer = _output([path, "version"]) if path else ""
    found = f"{_version(answer)}, {path}" if answer else "not found"
    how = "https://grafana.com/docs/k6/latest/set-up/install-k6/, or K6=/path/to/k6; without it ours is used"
    return Finding("k6", bool(answer), found, "load on the stack", how)


def _beside(name: str, purpose: str) -> Finding:
    """What `costlab up` starts along with the stack where it is found."""
    try:
        server = binaries.beside(name.lower())
        found, ok = f"{server.version}, {server.program}", True
    except StackError:
        found, ok = "not found", False
    return Finding(name, ok, found, purpose, binaries.how_to_get(name.lower()))


def _docker() -> Iterator[Finding]:
    path = shutil.which("docker")
    engine = _output([path, "version", "--format", "{{.Server.Version}}"]) if path else ""
    if not path:
        found = "not found"
    else:
        found = f"{engine}, {path}" if engine else f"{path} is here, but no engine answers this account"
    start = "start it (systemctl start docker, or dockerd), and be in the group docker"
    how = start if path else "https://docs.docker.com/engine/install/"
    yield Finding("Docker", bool(engine), found, "the stack in containers (--target compose)", how)
    plugin = _output([path, "compose", "version", "--short"]) if path else ""
    alone = "" if plugin else _output(["docker-compose", "version", "--short"])
    found = plugin or alone
    suits = bool(found) and not found.lstrip("v").startswith("1.")
    yield Finding(
        "Compose", suits, found or "not found", "the stack in containers", "https://docs.docker.com/compose/install/"
    )


def _cores() -> Finding:
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:
        count = os.cpu_count() or 1
    how = f"{_CORES} are needed for figures that mean something: load and stack share them"
    return Finding("cores", count >= _CORES, str(count), "the stack and the load", how)


def _memory() -> Finding:
    free = psutil.virtual_memory().available / 1e9
    how = f"{_MEMORY_GB} GB free: the stack takes half a GB, the rest keeps the kernel from swapping"
    return Finding("memory", free >= _MEMORY_GB, f"{free:.1f} GB free", "the stack", how)


def _disk(state: Path) -> Finding:
    folder = next(path for path in (state, *state.parents) if path.exists())
    free = shutil.disk_usage(folder).free / 1e9
    how = f"{_DISK_GB} GB free, or another folder with COSTLAB_STATE"
    return Finding("disk", free >= _DISK_GB, f"{free:.1f} GB free at {folder}", "the data of the stack", how, True)


def _install(package: str) -> str:
    tool = f"brew install {package}" if sys.platform == "darwin" else f"apt-get install {package} (or your system's)"
    return f"{tool}; or make, which brings one in .venv"


def _version(text: str) -> str:
    found = re.search(r"\d+\.\d+(\.\d+)?", text)
    return found[0] if found else "version unknown"


def _output(command: list[str]) -> str:
    """What ``command`` prints; nothing when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout or done.stderr).strip()
