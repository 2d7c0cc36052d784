"""Finds the days: ``experiments/NN-slug/experiment.toml``, by number or by name."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from costlab.lab.errors import LabError

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "experiments"
_FOLDER = re.compile(r"(\d\d)-[a-z0-9-]+")


@dataclass(frozen=True)
class Day:
    """One folder of experiments/. ``slug`` is its name, for instance 11-caching."""

    number: int
    slug: str
    folder: Path

    @property
    def file(self) -> Path:
        """The declaration of the experiment."""
        return self.folder / "experiment.toml"


def days(experiments: Path = EXPERIMENTS) -> list[Day]:
    """All days there are, by number."""
    return sorted(_days(experiments), key=lambda day: day.number)


def _days(experiments: Path) -> Iterator[Day]:
    if not experiments.is_dir():
        return
    for folder in experiments.iterdir():
        match = _FOLDER.fullmatch(folder.name)
        if match and (folder / "experiment.toml").is_file():
            yield Day(int(match[1]), folder.name, folder)


def find(name: str, experiments: Path = EXPERIMENTS) -> Day:
    """The day with this number ("11") or slug ("11-caching", "caching")."""
    found = days(experiments)
    for day in found:
        if name in (day.slug, day.slug[3:]) or (name.isdecimal() and int(name) == day.number):
            return day
    known = ", ".join(day.slug for day in found) or f"none, {experiments} holds no NN-slug/experiment.toml"
    raise LabError(f"there is no day {name!r}; there are: {known}")
