"""Two results of one day side by side: did the effect change between them, for instance from one commit to the next?

Each result holds the change of a variant against its baseline, measured together; what is compared is that change, so
a machine that was slower as a whole the second time does not count. Two changes differ when the distance of their
logarithms is beyond the root of the sum of squares of both half-widths; counted ones when their ranges do not meet.
Refused, with every reason, where the two did not measure the same thing in the same way.
"""

import math
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Column, Table

from costlab.lab import words
from costlab.lab.effect import Effect
from costlab.lab.errors import LabError
from costlab.lab.result import Result
from costlab.lab.toml_file import Closed


class Side(Closed):
    """One of the two results."""

    started: str
    commit: str
    rounds: int
    verdict: str
    change: dict[str, str]


class Row(Closed):
    """One metric of one variant in both; ``moved``: whether its change is another one, None where nobody can tell."""

    metric: str
    variant: str
    first: Effect
    second: Effect
    moved: bool | None


class Compared(Closed):
    """Both results, what else differed between them (which may explain a difference), and every metric."""

    day: str
    first: Side
    second: Side
    notes: list[str]
    rows: list[Row]


def compare(first: Result, second: Result) -> Compared:
    """``first`` and ``second`` side by side; LabError with all reasons where that would mislead."""
    if reasons := list(refusals(first, second)):
        raise LabError(f"these two cannot be compared: {'; '.join(reasons)}")
    pairs = [
        (effect, other)
        for effect in first.conclusion.effects
        for other in second.conclusion.effects
        if (effect.metric, effect.variant) == (other.metric, other.variant)
    ]
    return Compared(
        day=first.day,
        first=_side(first),
        second=_side(second),
        notes=list(_notes(first, second)),
        rows=[
            Row(metric=one.metric, variant=one.variant, first=one, second=other, moved=moved(one, other))
            for one, other in pairs
        ],
    )


def refusals(first: Result, second: Result) -> Iterator[str]:
    """Every reason not to compare the two."""
    for name, one in (("first", first), ("second", second)):
        if one.status != "complete" or one.conclusion is None:
            yield f"the {name} is {one.status}" + ("" if one.conclusion else " and has no verdict")
    facts, others = _facts(first), _facts(second)
    for name, value in facts.items():
        # A flag that only one of two commits has says nothing of the other.
        if name in others and value != others[name]:
            yield f"{name}: {_short(value)} against {_short(others[name])}"


def _facts(one: Result) -> dict[str, object]:
    """What has to be the same."""
    declared = one.experiment
    variants = {name: dict(sorted(variant.flags.items())) for name, variant in declared.variants.items()}
    return {
        "day": one.day,
        "A/A run": "yes" if one.twins else "no",
        "baseline": declared.baseline,
        "variants": variants,
        "left out of a variant": {name: sorted(variant.without) for name, variant in declared.variants.items()},
        "flags given from outside": one.given_flags,
        "primary": (declared.primary.metric, declared.primary.variant, declared.primary.direction),
        "threshold": declared.primary.threshold(),
        "traffic": declared.load.traffic,
        "requests per second": declared.load.rate,
        "form": "quick" if one.quick else "full",
        "seconds of a block": one.form.block_seconds,
        "seconds of settling": one.form.settle_seconds,
        "state before a block": declared.state.model_dump(),
        "faults": [{"at": fault.at} | fault.document() for fault in declared.faults],
        "generator": sorted({block.generator.split(" v")[0] for block in one.blocks}),
        "queries counted by": sorted({block.queries.source for block in one.blocks}),
        "memory counted as": sorted({block.memory_kind for block in one.blocks}),
        "stack": one.environment.target,
        "machine": one.environment.host,
        "processor": one.environment.cpu,
        "cores": one.environment.cores,
        "GiB of memory": round(one.environment.memory_bytes / 2**30),
        "system": one.environment.system,
    } | {f"flag {name}": values for name, values in sorted(_around(one).items())}


def _around(one: Result) -> dict[str, set[object]]:
    """The values that blocks found of each flag their variant does not set."""
    seen: dict[str, set[object]] = {}
    for block in one.blocks:
        for name in block.flags.keys() - one.experiment.variants[block.variant].flags.keys():
            seen.setdefault(name, set()).add(block.flags[name])
    return seen


def _short(value: object) -> str:
    if isinstance(value, set):
        return _short(sorted(value, key=str))
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value)) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{key} {_short(inside)}" for key, inside in value.items()) or "none"
    return f"{value}"


def moved(first: Effect, second: Effect) -> bool | None:
    """Whether the two changes are beyond what their intervals leave to chance."""
    ends = (first.low, first.high, second.low, second.high)
    if first.ratio is None or second.ratio is None or any(end is None for end in ends):
        return None
    if first.exact:
        return first.high < second.low or second.high < first.low
    if min(ends) <= 0:
        return None
    distance = abs(math.log(second.ratio / first.ratio))
    widths = [math.log(one.high / one.low) / 2 for one in (first, second)]
    return distance > math.hypot(*widths)


def _side(one: Result) -> Side:
    here = one.environment
    commit = "no git clone" if here.commit is None else here.commit[:9] + (" with changes" if here.dirty else "")
    bill = one.conclusion.bill
    changes = {} if bill is None else bill.differences
    return Side(
        started=one.started,
        commit=commit,
        rounds=one.form.count,
        verdict=one.conclusion.verdict.word,
        change={
            name: f"{words.dollars(difference.usd, sign=True)} "
            f"({words.dollar_span(difference.low, difference.high, sign=True)})"
            for name, difference in changes.items()
        },
    )


def _notes(first: Result, second: Result) -> Iterator[str]:
    """What may differ and is told."""
    if first.environment.commit != second.environment.commit:
        yield f"commit {_side(first).commit} against {_side(second).commit}"
    if first.form.count != second.form.count:
        yield f"{first.form.count} rounds against {second.form.count}"
    versions = first.environment.versions | {"kernel": first.environment.kernel, "Python": first.environment.python}
    others = second.environment.versions | {"kernel": second.environment.kernel, "Python": second.environment.python}
    for name in dict.fromkeys([*versions, *others]):
        if versions.get(name) != others.get(name):
            yield f"{name} {versions.get(name, 'absent')} against {others.get(name, 'absent')}"
    sheets = [one.conclusion.bill.sheet.title for one in (first, second) if one.conclusion.bill is not None]
    if len(set(sheets)) > 1:
        yield f"prices of {sheets[0]} against {sheets[1]}"


def _change(effect: Effect) -> str:
    return "-" if effect.ratio is None else f"{words.change(effect.ratio)}\n{words.span(effect)}"


def show(compared: Compared, console: Console) -> None:
    """Both on a terminal."""
    sides = (compared.first, compared.second)
    table = Table(f"day {compared.day}", "first", "second", box=box.SIMPLE_HEAD)
    for name in ("started", "commit", "rounds", "verdict"):
        table.add_row(name, *(str(getattr(side, name)) for side in sides))
    for variant in compared.first.change:
        table.add_row(f"{variant}: USD a month", *(side.change.get(variant, "-") for side in sides))
    console.print(table)
    for variant in dict.fromkeys(row.variant for row in compared.rows):
        rows = Table(Column(variant, no_wrap=True), "first", "second", "moved", box=box.SIMPLE_HEAD)
        for row in (row for row in compared.rows if row.variant == variant):
            moved_word = {True: "yes", False: "no", None: "-"}[row.moved]
            rows.add_row(words.title(row.metric), _change(row.first), _change(row.second), moved_word)
        console.print(rows)
    for note in compared.notes:
        console.print(f"differs: {note}", highlight=False)
