"""A new day: a copy of experiments/template, under its number and title, that runs as it stands.

new_day(31, "My idea")      # experiments/31-my-idea/experiment.toml and README.md
"""

import json
import re
from pathlib import Path
from string import Template

from costlab.lab.catalogue import EXPERIMENTS, Day
from costlab.lab.errors import LabError

TEMPLATE = EXPERIMENTS / "template"
_LONGEST = 60


def new_day(number: int, title: str, experiments: Path = EXPERIMENTS, template: Path = TEMPLATE) -> Day:
    """Write the folder of day ``number``; LabError if the number or the name is taken, or the title is none."""
    if not 1 <= number <= 99:
        raise LabError(f"a day's number is {number}; allowed: 1 to 99")
    words = " ".join(title.split())
    slug = f"{number:02}-{_slug(words)}"
    _refuse_taken(number, slug, experiments)
    folder = experiments / slug
    values = {"number": str(number), "title": json.dumps(words, ensure_ascii=False), "words": words}
    try:
        folder.mkdir(parents=True)
        for source in sorted(template.iterdir()):
            (folder / source.name).write_text(Template(source.read_text()).substitute(values))
    except OSError as error:
        raise LabError(f"{error.filename or folder}: cannot be written: {error.strerror or error}") from error
    return Day(number, slug, folder)


def _slug(words: str) -> str:
    """My idea, twice! -> my-idea-twice"""
    slug = "-".join(re.findall(r"[a-z0-9]+", words.lower()))
    if not slug or len(words) > _LONGEST or not words.isprintable():
        raise LabError(f"a title needs a letter or digit (a to z, 0 to 9) and at most {_LONGEST} characters: {words!r}")
    return slug


def _refuse_taken(number: int, slug: str, experiments: Path) -> None:
    for folder in sorted(experiments.glob("[0-9][0-9]-*")):
        if int(folder.name[:2]) == number:
            raise LabError(f"day {number} is there already: {folder}")
        if folder.name[3:] == slug[3:]:
            raise LabError(f"a day of that name is there already: {folder}")
