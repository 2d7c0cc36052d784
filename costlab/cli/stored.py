"""Stored results that a command looks through: a damaged one is told on stderr and hides no other."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

from costlab.lab import result
from costlab.lab.errors import LabError
from costlab.lab.result import Result


def readable(paths: Iterable[Path]) -> Iterator[tuple[Path, Result]]:
    """Those of ``paths`` that hold a result, each read when it is asked for."""
    for path in paths:
        try:
            stored = result.load(path)
        except LabError as error:
            skipped(error)
        else:
            yield path, stored


def skipped(error: LabError) -> None:
    """Tell that the file that ``error`` names is passed over."""
    typer.echo(f"costlab: skipped {error}", err=True)
