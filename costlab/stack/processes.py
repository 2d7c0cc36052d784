"""The processes of a stack: which are ours, what they use, how they end.

A killed supervisor leaves its children behind, so ours are recognised without it: the Python processes by a mark in
their environment, PostgreSQL and Redis (which overwrite their environment with a title for ``ps``) by their programs'
names together with the working folder, which lies inside the stack's state.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from costlab.stack import Usage

Process = psutil.Process

MARK = "COSTLAB_STACK_STATE"
_SERVERS = ("postgres", "redis-server", "valkey-server")
_KILL_WAIT_SECONDS = 5.0


def ours(state: Path, data_folders: Iterable[Path]) -> list[Process]:
    """Every living process of the stack with this state folder."""
    folders = [str(folder.resolve()) for folder in data_folders]
    return [process for process in psutil.process_iter(["name"]) if _is_ours(process, str(state), folders)]


def tree(pid: int) -> list[Process]:
    """The process and all below it; empty when it is gone."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def usage(processes: Iterable[Process], with_children: bool = True) -> Usage:
    """What ``processes`` have used together, and (on Linux) what those children of theirs used that have ended."""
    seconds, memory = 0.0, 0
    for process in processes:
        try:
            times = process.cpu_times()
            memory += _memory(process)
        except psutil.Error:
            continue  # ended in between: its CPU time now counts with its parent's children
        seconds += times.user + times.system
        if with_children:
            seconds += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return Usage(seconds, memory, memory_kind())


def memory_kind() -> str:
    """PSS where the kernel tells it (Linux), else RSS."""
    return "pss" if sys.platform == "linux" else "rss"


def end(processes: Iterable[Process], patience: float) -> int:
    """End them: in an orderly way, after ``patience`` seconds by force. How many there were."""
    alive = list(processes)
    for process in alive:
        # PostgreSQL waits for its clients at SIGTERM; SIGINT is its fast shutdown.
        send([process], signal.SIGINT if _name(process) == "postgres" else signal.SIGTERM)
    send(wait_gone(alive, patience), signal.SIGKILL)
    wait_gone(alive, _KILL_WAIT_SECONDS)
    return len(alive)


def send(processes: Iterable[Process], number: int) -> None:
    """Signal ``number`` to each of ``processes`` that still lives."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def is_server(process: Process) -> bool:
    """Whether it is PostgreSQL or Redis."""
    return _name(process) in _SERVERS


def wait_gone(processes: Iterable[Process], seconds: float) -> list[Process]:
    """Those that still live after ``seconds``."""
    alive = list(processes)
    deadline = time.monotonic() + seconds
    while (alive := [process for process in alive if lives(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def lives(process: Process) -> bool:
    """Running; one that has ended and waits for its parent to notice does not count."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _is_ours(process: Process, state: str, folders: list[str]) -> bool:
    try:
        if process.pid == os.getpid() or not lives(process):
            return False
        if process.info["name"] in _SERVERS:
            return process.cwd() in folders
        return process.environ().get(MARK) == state
    except (psutil.Error, OSError):
        return False  # another user's, or gone


def _memory(process: Process) -> int:
    if sys.platform != "linux":
        return process.memory_info().rss
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError as error:
        raise psutil.NoSuchProcess(process.pid) from error
    return 0  # a process that is ending has no memory left


def _name(process: Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""
