"""Faults that cannot end themselves, each with a keeper that ends it (fault_keeper.py), and the records of them.

<folder>/<id>.json    the record (costlab/service/faults.py), how to end it ("undo"), and its keeper ("keeper")

The order makes the promise: record, keeper, and only then the fault. Whatever dies in between, no fault is left that
nobody ends. Should the keeper itself be killed, whoever looks at the records next starts another.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from costlab.service.faults import Record, Registry
from costlab.stack import StackError, fault_keeper
from costlab.stack.processes import MARK

Undo = Mapping[str, Any]
_START_SECONDS = 10


class KeptFaults:
    """The faults of one ``level`` ("process", "wire", "input") whose records lie in ``folder``."""

    def __init__(self, folder: Path, level: str) -> None:
        self._folder = folder
        self._level = level
        self._registry = Registry.load()

    @contextmanager
    def kept(self, record: Record, undo: Undo) -> Iterator[Callable[[Undo], None]]:
        """``record`` has a keeper; in the block the fault is made. When the block fails, the fault is ended.

        What is handed to the block takes a better ``undo``, once the fault is made.
        """
        file = self._file(record.id)
        _write(file, document := {**record.document(), "undo": undo, "keeper": None})
        try:
            document["keeper"] = _start_keeper(file)
            _write(file, document)
            yield lambda better: _write(file, document | {"undo": better})
        except BaseException:
            self.end(record.id)
            raise

    def active(self) -> list[Record]:
        """What is in force, as far as the records know; those without a keeper get another."""
        return [self._registry.record(_without_extras(document)) for _, document in self._documents(cared_for=True)]

    def end(self, identity: str) -> bool:
        """End one fault now; False when there is none of that id."""
        return self._end(lambda document: document["id"] == identity) > 0

    def end_on(self, names: Iterable[str]) -> int:
        """End those on services or instances ``names``; how many there were."""
        chosen = set(names)
        return self._end(lambda document: document["on"] in chosen)

    def clear(self) -> int:
        """End all; how many there were."""
        return self._end(lambda document: True)

    def forget(self, identity: str) -> None:
        """One that has ended by itself needs no keeper."""
        for file, document in self._documents():
            if document["id"] == identity:
                _end_keeper(document["keeper"])
                fault_keeper.remove(file)

    def _end(self, chosen: Callable[[Mapping[str, Any]], bool]) -> int:
        ended = 0
        for file, document in self._documents():
            if not chosen(document):
                continue
            if not fault_keeper.undo(document["undo"]):
                raise StackError(
                    f"{document['fault']} on {document['on']} could not be ended yet; its keeper goes on trying"
                )
            _end_keeper(document["keeper"])
            fault_keeper.remove(file)
            ended += 1
        return ended

    def _documents(self, cared_for: bool = False) -> Iterator[tuple[Path, dict[str, Any]]]:
        for file in sorted(self._folder.glob("*.json")):
            document = _read(file)
            if document is None or self._registry[document["fault"]].level != self._level:
                continue
            if cared_for and not _lives(document["keeper"]):
                document["keeper"] = _start_keeper(file)
                _write(file, document)
            yield file, document

    def _file(self, identity: str) -> Path:
        return self._folder / f"{identity}.json"


def end_all(folder: Path) -> None:
    """End the kept faults of a stack that is to be stopped; what cannot be ended now, its keeper ends."""
    for level in ("process", "wire", "input"):
        with suppress(StackError):
            KeptFaults(folder, level).clear()


def _start_keeper(file: Path) -> list[Any]:
    """Its pid and when it started. It has left us behind by the time this returns."""
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    command = [sys.executable, "-I", "-S", fault_keeper.__file__, str(file)]
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=_START_SECONDS, check=True,
        )  # fmt: skip
        pid, started = done.stdout.split(maxsplit=1)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise StackError(f"no keeper can be started that would end the fault, so it is not made: {error}") from error
    return [int(pid), started.strip()]


def _end_keeper(keeper: list[Any] | None) -> None:
    if _lives(keeper):
        with suppress(ProcessLookupError):
            os.kill(keeper[0], signal.SIGTERM)


def _lives(keeper: list[Any] | None) -> bool:
    return keeper is not None and fault_keeper.identity(keeper[0]) == keeper[1]


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return fault_keeper.read(file)
    except ValueError as error:
        raise StackError(f"{file} is damaged: {error}; remove it when nothing is paused") from error


def _write(file: Path, document: Mapping[str, Any]) -> None:
    """A whole record or none: the keeper reads it all the time."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(document))
    draft.replace(file)


def _without_extras(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in ("undo", "keeper")}
