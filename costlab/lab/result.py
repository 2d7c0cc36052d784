"""A result is a file, runs/DAY/TIME.json: all that was measured and concluded, and enough to do both again."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from costlab.lab import plausible
from costlab.lab.block import Block
from costlab.lab.catalogue import ROOT, Day
from costlab.lab.conclusion import Conclusion
from costlab.lab.effect import Effect
from costlab.lab.environment import Environment
from costlab.lab.errors import LabError
from costlab.lab.experiment import Experiment, FlagValue, Form
from costlab.lab.toml_file import Closed, describe, telling

RUNS = ROOT / "runs"
FORMAT = 2


class Noise(Closed):
    """What an A/A run, ``measured`` then, found identical variants to differ by, by metric, as a share."""

    measured: str
    rounds: int
    block_seconds: float
    floors: dict[str, float]


class Result(Closed):
    """One run. ``conclusion`` is None until one round is complete. ``planned_blocks``: how many were meant.

    ``given_flags``: set in every variant from outside, and part of ``experiment`` already. ``flags_before``: those that
    stood before the run. ``resumed``: when it was gone on with. ``twins``: this is an A/A run, the baseline against
    itself; ``noise`` is what the one of that day found, ``no_floor`` why that cannot be used, ``awaits_floor``: it is
    still to be measured, first of all. Results of format 1 say none of these.
    """

    format: Literal[1, 2] = FORMAT
    status: Literal["running", "complete", "interrupted", "failed"]
    day: str
    started: str
    seed: int
    quick: bool
    form: Form
    experiment: Experiment
    environment: Environment
    planned_blocks: int
    blocks: list[Block]
    conclusion: Conclusion | None = None
    generator: str = "auto"
    given_flags: dict[str, FlagValue] = Field(default_factory=dict)
    flags_before: dict[str, FlagValue] = Field(default_factory=dict)
    resumed: list[str] = Field(default_factory=list)
    twins: bool = False
    noise: Noise | None = None
    awaits_floor: bool = False
    no_floor: str = ""

    def decisive(self) -> Effect | None:
        """The effect that the verdict is of; None until there is a verdict."""
        primary = self.experiment.primary
        return None if self.conclusion is None else self.conclusion.effect(primary.metric, primary.variant)


def now() -> str:
    """The time of a run, as it stands in the result and names the file."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def path_for(day: Day, started: str, runs: Path = RUNS) -> Path:
    """Where the result of a run goes."""
    return runs / day.slug / f"{started.replace(':', '').replace('-', '')}.json"


def save(result: Result, path: Path) -> None:
    """Write the whole file or leave the old one."""
    write_whole(path, result.model_dump_json() + "\n")


def write_whole(path: Path, text: str) -> None:
    """``text`` in ``path``, at once: a reader and a crash see the old file or the new one, never half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
            _keep_name(path.parent)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise LabError(f"{path}: cannot be written: {error.strerror or error}") from error


def forget_halves(path: Path) -> None:
    """Remove what writers that were killed had not finished of ``path``."""
    for half in path.parent.glob(f".{path.name}-*"):
        half.unlink(missing_ok=True)


def _keep_name(folder: Path) -> None:
    """A new name in ``folder`` survives a loss of power too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(path: Path) -> Result:
    """The result in ``path``; LabError says in one line what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{path}: no result can be read there: {error}") from error
    try:
        stored = Result.model_validate_json(text)
    except ValidationError as error:
        first = telling(error.errors(include_url=False))
        if first["type"] == "json_invalid":
            raise LabError(f"{path}: not a whole result: {first['msg']}") from error
        raise LabError(f"{path}: not a result of this costlab: {describe(first, Result)}") from error
    if odd := plausible.oddity(stored):
        raise LabError(f"{path}: not a result of any run: {odd}")
    return stored
