"""The parts of documents that are worked out from results, each between two marks; `costlab days --write` writes them.

<!-- days: `costlab days --write` -->
| day | topic | ...
<!-- /days -->
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from costlab.lab import catalogue, lesson, tracker
from costlab.lab.errors import LabError


def documents(tracked: Sequence[tracker.Line], root: Path = catalogue.ROOT) -> Iterator[tuple[Path, str]]:
    """The README with the tracker and each lesson with its outcome: where it is, and its text as it should be."""
    readme = root / "README.md"
    yield readme, refreshed(readme, {"days": tracker.markdown(tracked), "noise": tracker.twins()})
    for line in tracked:
        file = root / "experiments" / line.day / "README.md"
        yield file, refreshed(file, {"outcome": lesson.outcome(line, file.parent)})


def refreshed(file: Path, parts: Mapping[str, str]) -> str:
    """The text of ``file`` with each of ``parts`` between its marks; LabError where these are missing."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise LabError(f"{file}: cannot be read: {error.strerror or error}") from error
    for part, content in parts.items():
        first, last = f"<!-- {part}: `costlab days --write` -->", f"<!-- /{part} -->"
        before, begin, rest = text.partition(first)
        _, end, after = rest.partition(last)
        if not begin or not end:
            raise LabError(f"{file} has no place for its {part}: it needs the lines {first} and {last}")
        text = f"{before}{first}\n{content}\n{last}{after}"
    return text
