"""What came out: the reference result of a day as its lesson shows it, beside the prediction made before it ran."""

import os
from pathlib import Path

from costlab.lab import result, words
from costlab.lab.conclusion import Conclusion
from costlab.lab.effect import Effect
from costlab.lab.result import Result
from costlab.lab.tracker import Line

NOT_YET = "Not measured yet."


def outcome(line: Line, folder: Path) -> str:
    """What the tracker says of a day in its ``line``, at length; Markdown for a document in ``folder``."""
    stored = None if line.result is None else result.load(line.result)
    if stored is None or stored.conclusion is None:
        return NOT_YET
    conclusion = stored.conclusion
    link = Path(os.path.relpath(line.result, folder)).as_posix()
    parts = [
        _verdict(line, stored, conclusion),
        "\n".join(_table(stored, conclusion)),
        "\n".join(_sides(conclusion)),
        f"{_measured(stored)} [The result]({link}) has every block; `costlab report` draws it.",
    ]
    return "\n\n".join(parts)


def _verdict(line: Line, stored: Result, conclusion: Conclusion) -> str:
    primary = stored.experiment.primary
    effect = stored.decisive()
    predicted = words.change(stored.experiment.prediction.ratio)
    return (
        f"**{line.status}**: with `{primary.variant}` {words.title(primary.metric)} is {primary.direction}. "
        f"Predicted {predicted}, measured {words.change(effect.ratio)} ({conclusion.verdict.reason})."
    )


def _table(stored: Result, conclusion: Conclusion) -> list[str]:
    """A row per figure, a column per variant; changes against the first with their intervals."""
    baseline, *others = stored.experiment.names()
    rows = [["", f"`{baseline}`", *(f"`{name}`" for name in others)], ["---"] * (len(others) + 2)]
    for metric in stored.experiment.metrics():
        effects = [conclusion.effect(metric, name) for name in others]
        rows.append([words.title(metric), words.figure(metric, effects[0].before), *map(_cell, effects)])
    bill = conclusion.bill
    if bill is not None:
        cells = [f"{words.dollars(bill.variants[name].usd)} ({_more(stored, name)})" for name in others]
        rows.append(["USD a month", words.dollars(bill.variants[baseline].usd), *cells])
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(effect: Effect) -> str:
    after = words.figure(effect.metric, effect.after)
    if effect.ratio is None:
        return f"{after} ({refused})" if (refused := words.not_compared(effect)) else after
    return f"{after} ({words.change(effect.ratio)}: {words.span(effect)})"


def _more(stored: Result, name: str) -> str:
    difference = stored.conclusion.bill.differences[name]
    span = words.dollar_span(difference.low, difference.high, sign=True)
    return f"{words.dollars(difference.usd, sign=True)}: {span}"


def _sides(conclusion: Conclusion) -> list[str]:
    """What it brings and costs, what stays open, and what to keep in mind."""
    said = [f"- {heading}: {'; '.join(lines) or 'nothing'}." for heading, lines in conclusion.sides().items()]
    return said + [f"- {caveat}." for caveat in conclusion.caveats]


def _measured(stored: Result) -> str:
    load, where = stored.experiment.load, stored.environment
    generators = " and ".join(sorted({block.generator for block in stored.blocks}))
    return (
        f"{stored.form.count} rounds of {stored.form.block_seconds:g} s blocks at {load.rate:g} requests a second by "
        f"{generators}, {where.target} stack, {where.cores} cores of {where.cpu}, {stored.started[:10]}."
    )
