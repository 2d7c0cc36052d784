"""Faults that cannot end themselves, each with a keeper that ends it (fault_keeper.py), and the records of them.

<folder>/<id>.json    the record (costlab/service/faults.py), how to end it ("undo"), its keeper ("keeper"), and while
                      it is being made, the process that makes it ("maker")

The order makes the promise: record, keeper, and only then the fault. Whatever dies in between, no fault is left that
nobody ends. While the maker lives nobody else ends or forgets its fault, because it could be made after that. Should
the keeper itself be killed, whoever looks at the records next starts another.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from costlab.failure import Failure
from costlab.service.faults import Record, Registry
from costlab.stack import StackError, fault_keeper, replicas
from costlab.stack.fault_teller import FaultTeller
from costlab.stack.processes import MARK

Undo = Mapping[str, Any]
_START_SECONDS = 10
_POLL_SECONDS = 0.05
_EXTRAS = ("undo", "keeper", "maker")


class KeptFaults:
    """The faults of one ``level`` ("process", "wire", "input") whose records lie in ``folder``; ``teller`` tells."""

    def __init__(
        self,
        folder: Path,
        level: str,
        teller: FaultTeller | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder = folder
        self._teller = teller
        self._level = level
        self._sleep = sleep
        self._registry = Registry.load()

    @contextmanager
    def kept(self, record: Record, undo: Undo) -> Iterator[Callable[[Undo], None]]:
        """``record`` has a keeper; in the block the fault is made. When the block fails, the fault is ended.

        What is handed to the block takes a better ``undo``, once the fault is made.
        """
        file, pid = self._file(record.id), os.getpid()
        maker = [pid, fault_keeper.identity(pid)]
        _write(file, document := {**record.document(), "undo": undo, "keeper": None, "maker": maker})
        try:
            _care_for(file, document)
            if self._teller is not None:
                self._teller.begins(record)
            yield lambda better: document.update(undo=better)
            _write(file, document)
            _care_for(file, document)  # one that was killed, or has given up a maker that stood still
        except BaseException:
            _write(file, document | {"maker": None})
            self._end_one(file)
            raise
        _write(file, document | {"maker": None})

    def active(self) -> list[Record]:
        """What is in force, as far as the records know; those without a keeper get another."""
        made = [(file, document) for file, document in self._documents() if not _is_being_made(document)]
        for file, document in made:
            _care_for(file, document)
        return [self._record(document) for _, document in made]

    def being_made(self) -> list[Record]:
        """What will be in force in a moment."""
        return [self._record(document) for _, document in self._documents() if _is_being_made(document)]

    def end(self, identity: str) -> bool:
        """End one fault now; False when there is none of that id."""
        return self._end(lambda document: document["id"] == identity) > 0

    def end_on(self, instances: Iterable[str]) -> int:
        """End those that concern one of ``instances``; how many there were."""
        words = {word for name in instances for word in (name, f"{name}-1", replicas.service_of(name))}
        return self._end(lambda document: document["on"] in words)

    def clear(self) -> int:
        """End all; how many there were."""
        return self._end(lambda document: True)

    def forget(self, identity: str) -> None:
        """One that has ended by itself needs no keeper."""
        for file, document in self._documents():
            if document["id"] == identity:
                self._is_over(file, document)

    def _end(self, chosen: Callable[[Mapping[str, Any]], bool]) -> int:
        return attempt_all(partial(self._end_one, file, chosen) for file in self._files())

    def _end_one(self, file: Path, chosen: Callable[[Mapping[str, Any]], bool] = lambda _: True) -> int:
        document = self._document(file)
        if document is None or not chosen(document) or (document := self._once_made(file)) is None:
            return 0
        if not fault_keeper.undo(document["undo"]):
            _care_for(file, document)
            raise StackError(
                f"{document['fault']} on {document['on']} could not be ended yet; its keeper goes on trying"
            )
        self._is_over(file, document)
        return 1

    def _is_over(self, file: Path, document: Mapping[str, Any]) -> None:
        _end_keeper(document["keeper"])
        fault_keeper.remove(file)
        if self._teller is not None:
            self._teller.over(document["id"])

    def _once_made(self, file: Path) -> dict[str, Any] | None:
        """The record when there is something to end; None when somebody else has ended it meanwhile."""
        waited = 0.0
        while (document := _read(file)) is not None and _is_being_made(document):
            if waited > fault_keeper.MAKING:
                raise StackError(
                    f"{document['fault']} on {document['on']} is still being made by process {document['maker'][0]}; "
                    "its keeper ends it"
                )
            self._sleep(_POLL_SECONDS)
            waited += _POLL_SECONDS
        return document

    def _documents(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        for file in self._files():
            if (document := self._document(file)) is not None:
                yield file, document

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))

    def _document(self, file: Path) -> dict[str, Any] | None:
        """None when it is gone, or of another level."""
        document = _read(file)
        is_ours = document is not None and self._registry[document["fault"]].level == self._level
        return document if is_ours else None

    def _record(self, document: Mapping[str, Any]) -> Record:
        return self._registry.record({name: value for name, value in document.items() if name not in _EXTRAS})

    def _file(self, identity: str) -> Path:
        return self._folder / f"{identity}.json"


def attempt_all(actions: Iterable[Callable[[], int | None]]) -> int:
    """Do them all, also when one fails, and add up what they say; StackError with every reason at the end."""
    done, failed = 0, []
    for action in actions:
        try:
            done += action() or 0
        except Failure as failure:
            failed.append(str(failure))
    if failed:
        raise StackError("; ".join(failed))
    return done


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


def _care_for(file: Path, document: dict[str, Any]) -> None:
    """It has a keeper that lives, or gets one."""
    if not fault_keeper.lives(document["keeper"]):
        document["keeper"] = _start_keeper(file)
        _write(file, document)


def _end_keeper(keeper: list[Any] | None) -> None:
    if fault_keeper.lives(keeper):
        with suppress(ProcessLookupError):
            os.kill(keeper[0], signal.SIGTERM)


def _is_being_made(document: Mapping[str, Any]) -> bool:
    return fault_keeper.lives(document.get("maker"))


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
