"""How something is paused, and how it goes on: a process with all its children, or a container.

Neither gets a word: whoever calls it may connect (the kernel does that) and then waits. The fault that does not show
in any error count, where a killed process shows at once.
"""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from costlab.stack import StackError, fault_keeper, processes

_SECONDS = 30


class Pausable(Protocol):
    """Something that can be paused."""

    def freeze(self) -> None:
        """It stands still when this returns."""

    def undo(self) -> Mapping[str, Any]:
        """How it goes on, in the words of fault_keeper.py; said before ``freeze``, and better after it."""


class PausableTree:
    """The process ``pid`` and all below it, paused by SIGSTOP, which no process can catch or ignore."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def freeze(self) -> None:
        """The parent first: it must not fork what nobody would stop."""
        stopped: set[int] = set()
        while new := [process for process in processes.tree(self._pid) if process.pid not in stopped]:
            processes.send(new, signal.SIGSTOP)
            stopped |= {process.pid for process in new}

    def undo(self) -> dict[str, Any]:
        found = [(process.pid, fault_keeper.identity(process.pid)) for process in processes.tree(self._pid)]
        return {"resume": [[pid, started] for pid, started in found if started]}


class PausableContainer:
    """The container ``identity``, paused by the kernel's freezer as ``docker pause`` does it."""

    def __init__(self, docker: str, identity: str) -> None:
        self._docker = docker
        self._identity = identity

    def freeze(self) -> None:
        command = [self._docker, "pause", self._identity]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if done.returncode:
            raise StackError(f"docker pause: {done.stderr.strip().removeprefix('Error response from daemon: ')}")

    def undo(self) -> dict[str, Any]:
        return {"run": [self._docker, "unpause", self._identity]}


class PausableTogether:
    """All of ``parts``, one after the other: the instances of a service."""

    def __init__(self, parts: Sequence[Pausable]) -> None:
        self._parts = parts

    def freeze(self) -> None:
        for part in self._parts:
            part.freeze()

    def undo(self) -> dict[str, Any]:
        return {"all": [part.undo() for part in self._parts]}
