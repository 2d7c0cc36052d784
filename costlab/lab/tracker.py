"""The tracker: every day, what its committed reference result said, what it does to the bill, and at which commit.

It is worked out from benchmarks/ and stands in the README between two marks, where `costlab days --write` refreshes it.
Verdicts are those of several days reported together (together.py): of eight days of pure noise one would else look
proven in every third table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from costlab.lab import catalogue, experiment, noise, result, together, words
from costlab.lab.conclusion import THE_BILL
from costlab.lab.effect import Effect
from costlab.lab.errors import LabError
from costlab.lab.result import Result
from costlab.lab.together import Outcome

REFERENCE = catalogue.ROOT / "benchmarks"
NOT_MEASURED = "not measured yet"


@dataclass(frozen=True)
class Line:
    """One day in words; ``result`` is the file the figures come from."""

    day: str
    topic: str
    status: str
    impact: str
    p: str
    bill: str
    commit: str
    result: Path | None


def _refuse(error: LabError) -> None:
    raise error


def lines(
    folder: Path = REFERENCE,
    experiments: Path = catalogue.EXPERIMENTS,
    damaged: Callable[[LabError], None] = _refuse,
) -> list[Line]:
    """A line for every day there is. ``damaged`` is told of results that cannot be read."""
    days = catalogue.days(experiments)
    stored = {day.slug: reference(folder / day.slug, damaged) for day in days}
    measured = [Outcome(slug, found[1]) for slug, found in stored.items() if found is not None]
    said = {line.day: line for line in together.summary(measured)}
    return [_line(day, stored[day.slug], said.get(day.slug)) for day in days]


def reference(folder: Path, damaged: Callable[[LabError], None] = _refuse) -> tuple[Path, Result] | None:
    """The newest whole result in ``folder``; the newest other one where there is none."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append((path, result.load(path)))
        except LabError as error:
            damaged(error)
    complete = [one for one in found if one[1].status == "complete" and one[1].conclusion is not None]
    return max(complete, key=lambda one: (whole(one[1]), one[1].started), default=None)


def whole(stored: Result) -> bool:
    """Whether it has the rounds that its day declares: neither a quick form nor a full one cut short by --rounds."""
    return not stored.quick and stored.form.count >= stored.experiment.rounds.count


def twins(folder: Path = REFERENCE / noise.FOLDER) -> str:
    """In a sentence: what the stored A/A runs found, of a day's baseline against itself on a real stack."""
    stored = [result.load(path) for path in sorted(folder.glob("*/*.json"))]
    whole = [one for one in stored if one.twins and one.status == "complete" and not noise.spoilt(one)]
    if not whole:
        return "No A/A run is stored."
    false = sum(_beyond(one.decisive(), 1 + one.experiment.primary.threshold()) for one in whole)
    counted = sum(one.decisive().exact for one in whole)
    unclear = sum(one.conclusion.verdict.word == "INCONCLUSIVE" for one in whole)
    return (
        f"Of {len(whole)} A/A runs on a real stack, a day's baseline against itself, {false or 'none'} found a "
        f"difference that the day would call one, {len(whole) - unclear - false} showed that there is none and "
        f"{unclear} could not tell; in {counted} the figure is counted, so chance has no part in it: "
        f"[all of them]({folder.relative_to(REFERENCE.parent).as_posix()})."
    )


def _beyond(effect: Effect, edge: float) -> bool:
    """Either way: of two that are the same, each is false."""
    return effect.low is not None and effect.high is not None and (effect.low > edge or effect.high < 1 / edge)


def _line(day: catalogue.Day, found: tuple[Path, Result] | None, said: together.Line | None) -> Line:
    topic = experiment.load(day.file).title
    if found is None or said is None or said.effect is None:
        return Line(day.slug, topic, NOT_MEASURED, "-", "-", "-", "-", None)
    path, stored = found
    return Line(
        day=day.slug,
        topic=topic,
        status=said.verdict + _form(stored),
        impact=_impact(said.effect),
        p="counted" if said.effect.exact else words.number(said.p),
        bill=_bill(stored, said.effect.variant),
        commit=_commit(stored),
        result=path,
    )


def _form(stored: Result) -> str:
    if stored.quick:
        return " (quick)"
    return "" if whole(stored) else f" ({stored.form.count} of {stored.experiment.rounds.count} rounds)"


def _impact(effect: Effect) -> str:
    if effect.ratio is None:
        return f"{words.title(effect.metric)}: {effect.refused}"
    return f"{words.title(effect.metric)} {words.change(effect.ratio)} ({words.span(effect)})"


def _bill(stored: Result, variant: str) -> str:
    bill = stored.conclusion.bill
    if bill is None:
        return "-"
    if THE_BILL in stored.conclusion.unclear:
        return "not clear"
    difference = bill.differences[variant]
    span = words.dollar_span(difference.low, difference.high, sign=True)
    return f"{words.dollars(difference.usd, sign=True)} ({span})"


def _commit(stored: Result) -> str:
    here = stored.environment
    return "-" if here.commit is None else here.commit[:9] + (" with changes" if here.dirty else "")


def markdown(tracked: Sequence[Line], root: Path = catalogue.ROOT) -> str:
    """The table as it stands in the README."""
    rows = ["| day | topic | status | measured impact (interval) | p, Holm | USD a month | commit |", "|" + "---|" * 7]
    for line in tracked:
        day = f"[{line.day}](experiments/{line.day}/README.md)"
        linked = line.status if line.result is None else f"[{line.status}]({line.result.relative_to(root).as_posix()})"
        cells = (day, line.topic, linked, line.impact, line.p, line.bill, line.commit)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)
