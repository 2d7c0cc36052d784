"""``costlab run all``: every day in turn. One that fails does not keep the others from running."""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from costlab.failure import Failure
from costlab.lab import words
from costlab.lab.catalogue import Day
from costlab.lab.errors import Interrupted
from costlab.lab.result import Result
from costlab.lab.together import Line, Outcome, summary


def run_all(days: Sequence[Day], run_one: Callable[[Day], Result], console: Console) -> bool:
    """Run ``days`` one after the other and print them together; whether all came to their end."""
    outcomes: list[Outcome] = []
    try:
        for day in days:
            console.rule(f"day {day.slug}", align="left")
            outcomes.append(_one(day, run_one, console))
    finally:
        if outcomes:
            console.print(_table(summary(outcomes)))
        for outcome in outcomes:
            if outcome.result is None:
                console.print(f"{outcome.day} failed: {outcome.failure}", style="red", highlight=False, soft_wrap=True)
    return all(outcome.result is not None for outcome in outcomes)


def _one(day: Day, run_one: Callable[[Day], Result], console: Console) -> Outcome:
    try:
        return Outcome(day.slug, run_one(day))
    except Interrupted:
        raise  # a person wants all of it to end
    except Failure as failure:
        console.print(f"{day.slug} failed: {failure}", style="red", highlight=False)
        return Outcome(day.slug, failure=str(failure))


def _table(lines: Sequence[Line]) -> Table:
    shown = Table("day", "primary metric", "change", "interval", "p", "verdict", box=box.SIMPLE_HEAD)
    for line in lines:
        effect = line.effect
        figures = ("-",) * 3
        if effect is not None:
            figures = (words.title(effect.metric), words.change(effect.ratio), words.span(effect))
        shown.add_row(line.day, *figures, "-" if line.p is None else f"{line.p:.2g}", line.verdict)
    shown.caption = "p is corrected for the number of days tested (Holm); counted metrics are not tested"
    return shown
