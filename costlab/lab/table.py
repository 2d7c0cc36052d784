"""A result on a terminal: before and after, the verdict, the bill."""

import os
import re

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from costlab.lab import words
from costlab.lab.bill import Bill, break_even_words
from costlab.lab.conclusion import Conclusion
from costlab.lab.effect import Effect
from costlab.lab.result import Result

_COLOURS = {"CONFIRMED": "green", "REFUTED": "red", "INCONCLUSIVE": "yellow"}


def show(result: Result, console: Console) -> None:
    """The whole result."""
    if result.conclusion is None:
        console.print(f"{result.day}: {len(result.blocks)} blocks, no complete round, so nothing can be said yet")
        return
    console.print(result.experiment.question, style="bold")
    form, generators = result.form, sorted({block.generator for block in result.blocks})
    console.print(
        f"{form.count} rounds of {form.block_seconds:g} s blocks, {result.experiment.load.rate:g} requests per second, "
        f"load by {' and '.join(generators)}, {result.environment.target} stack, seed {result.seed}",
        highlight=False,
    )
    for variant in result.experiment.names()[1:]:
        console.print(before_and_after(result, result.conclusion, variant))
    if result.conclusion.bill is not None:
        console.print(bill_table(result.conclusion.bill, result.experiment.names()))
        console.print(bill_words(result.conclusion.bill), highlight=False)
    console.print(verdict_panel(result, result.conclusion))


def picture(result: Result) -> str:
    """The whole result as an SVG of a terminal; the same result gives the same picture."""
    with open(os.devnull, "w") as nowhere:
        console = Console(file=nowhere, record=True, width=84, force_terminal=True, legacy_windows=False)
        show(result, console)
    drawn = console.export_svg(title=f"costlab: day {result.day}", unique_id="costlab")
    # rich asks a web server for its font; a picture in a README should ask nobody.
    return re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)


def before_and_after(result: Result, conclusion: Conclusion, variant: str) -> Table:
    """Every metric of ``variant`` beside the baseline's."""
    baseline = result.experiment.baseline
    effects = [effect for effect in conclusion.effects if effect.variant == variant]
    reasons = dict.fromkeys(effect.refused for effect in effects if words.not_compared(effect))
    caption = "\n".join(["exactly counted figures: no test, the range over the rounds", *reasons])
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column(baseline, justify="right")
    table.add_column(variant, justify="right")
    table.add_column("change", justify="right")
    table.add_column("95 % interval", no_wrap=True)
    for effect in effects:
        primary = effect.metric == result.experiment.primary.metric
        table.add_row(*_row(effect), style="bold" if primary else None)
    return table


def _row(effect: Effect) -> list[str]:
    return [
        words.title(effect.metric),
        words.figure(effect.metric, effect.before),
        words.figure(effect.metric, effect.after),
        words.change(effect.ratio),
        words.span(effect) if effect.ratio is not None else words.not_compared(effect),
    ]


def bill_table(bill: Bill, names: list[str]) -> Table:
    """USD per month, row by row."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("USD per month", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    for purpose, costs in bill_rows(bill, names):
        table.add_row(purpose, *(words.dollars(cost) for cost in costs))
    table.add_section()
    table.add_row("total", *(words.dollars(bill.variants[name].usd) for name in names), style="bold")
    spans = (words.dollar_span(bill.variants[name].low, bill.variants[name].high) for name in names)
    table.add_row("95 % interval", *spans)
    table.add_row("of it when idle", *(words.dollars(bill.variants[name].idle_usd) for name in names))
    steps = f"in steps of {bill.assumptions.vcpu_step:g} vCPU"
    table.add_row(steps, *(words.dollars(bill.variants[name].in_steps_usd) for name in names))
    return table


def bill_rows(bill: Bill, names: list[str]) -> list[tuple[str, list[float | None]]]:
    """What each row is for, and what it costs in each variant."""
    costs = {name: {row.ChargeDescription: row.EffectiveCost for row in bill.variants[name].rows} for name in names}
    purposes = list(dict.fromkeys(row.ChargeDescription for name in names for row in bill.variants[name].rows))
    return [(purpose, [costs[name].get(purpose) for name in names]) for purpose in purposes]


def bill_words(bill: Bill) -> str:
    """What the bill is for, and the difference of each variant in a sentence."""
    given = bill.assumptions
    lines = [
        f"{given.daily_users:,.0f} users a day, {given.requests_per_user:g} requests each, peak {given.peak_factor:g} "
        f"times the mean; {bill.sheet.title}"
    ]
    for name, difference in bill.differences.items():
        span = words.dollar_span(difference.low, difference.high, sign=True)
        lines.append(
            f"{name}: {words.dollars(difference.usd, sign=True)} USD a month ({span}), "
            f"in steps {words.dollars(difference.in_steps_usd, sign=True)}; {break_even_words(difference)}"
        )
    return "\n".join(lines)


def assumed_words(bill: Bill) -> str:
    """What of the bill the run did not measure."""
    if bill.assumed is None:
        return "Assumed and not measured: PostgreSQL's memory and disk, bytes of a span; logs are not in it"
    logged = any(row.ChargeDescription == "logs" for variant in bill.variants.values() for row in variant.rows)
    return f"Assumed and not measured: {', '.join(bill.assumed)}" + ("" if logged else "; no log bytes were counted")


def verdict_panel(result: Result, conclusion: Conclusion) -> Panel:
    """The verdict, what the pattern brings and costs, and what to keep in mind."""
    verdict = conclusion.verdict
    primary = result.experiment.primary
    colour = _COLOURS[verdict.word]
    text = Text()
    text.append(verdict.word, style=f"bold {colour}")
    text.append(f"  {primary.variant}: {words.title(primary.metric)} is {primary.direction}. {verdict.reason}.\n")
    effect = conclusion.effect(primary.metric, primary.variant)
    predicted = words.change(result.experiment.prediction.ratio)
    text.append(f"predicted {predicted}, measured {words.change(effect.ratio)}\n")
    for heading, lines in conclusion.sides().items():
        text.append(f"{heading}: ", style="bold")
        text.append("; ".join(lines) or "nothing")
        text.append("\n")
    for caveat in conclusion.caveats:
        text.append(f"- {caveat}\n", style="dim")
    text.rstrip()
    return Panel(text, border_style=colour, title=f"day {result.day}", title_align="left")
