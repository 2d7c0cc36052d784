"""CPU seconds and memory of a container, read from the kernel's own files for its control group.

The engine gives the same counters, but takes about a second an answer; around a block of ten seconds that second would
be a tenth of the measurement. Version 1 and 2 of control groups are both met in practice.
Source: Linux Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst.
"""

from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
PROCESSES = Path("/proc")


def cpu_seconds_and_memory(pid: int, container: str) -> tuple[float, int] | None:
    """Of the control group that holds process ``pid`` of ``container`` (its id); None where the kernel is another one.

    Memory is what is in use without the file cache that could be dropped at once, as ``docker stats`` counts it.
    """
    try:
        groups = _groups((PROCESSES / str(pid) / "cgroup").read_text())
        if not any(container in path for path in groups.values()):
            return None
        return _version_1(groups) if "memory" in groups else _version_2(groups[""])
    except (OSError, KeyError):
        return None


def _groups(text: str) -> dict[str, str]:
    """Controller to path; version 2 has one path and no controller: ``4:memory:/docker/1f..``, ``0::/docker/1f..``."""
    lines = [line.split(":", 2) for line in text.splitlines()]
    return {controller: path for _, controllers, path in lines for controller in controllers.split(",")}


def _version_1(groups: dict[str, str]) -> tuple[float, int]:
    cpu = MOUNT / "cpuacct" / groups["cpuacct"].lstrip("/")
    memory = MOUNT / "memory" / groups["memory"].lstrip("/")
    used = _number(memory / "memory.usage_in_bytes") - _field(memory / "memory.stat", "total_inactive_file")
    return _number(cpu / "cpuacct.usage") / 1e9, max(0, used)


def _version_2(path: str) -> tuple[float, int]:
    group = MOUNT / path.lstrip("/")
    used = _number(group / "memory.current") - _field(group / "memory.stat", "inactive_file")
    return _field(group / "cpu.stat", "usage_usec") / 1e6, max(0, used)


def _number(file: Path) -> int:
    return int(file.read_text())


def _field(file: Path, name: str) -> int:
    return int(dict(line.split() for line in file.read_text().splitlines())[name])
