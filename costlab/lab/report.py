"""The HTML report of a result, rebuilt from the result file alone: the same file gives the same bytes.

Charts are drawn by Plotly from one script file beside the reports of a folder, so a report works offline.
"""

import json
import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from costlab.lab import charts, metrics, words
from costlab.lab.bill import Bill
from costlab.lab.conclusion import Conclusion
from costlab.lab.guards import WORDS
from costlab.lab.result import Result, write_whole
from costlab.lab.table import assumed_words, bill_rows, bill_words
from costlab.lab.tracker import whole

SCRIPT = "plotly.min.js"
_COLOURS = {"CONFIRMED": "#067647", "REFUTED": "#b42318", "INCONCLUSIVE": "#b54708"}
_STATEMENTS = 8
_ALARM, _STRONG = 'class="no"', 'class="strong"'


def write(result: Result, path: Path) -> None:
    """Write the report to ``path``, and the script it needs beside it."""
    script, text = path.parent / SCRIPT, get_plotlyjs()
    if not script.is_file() or script.stat().st_size != len(text.encode()):
        write_whole(script, text)
    write_whole(path, render(result))


def render(result: Result) -> str:
    """The report as HTML."""
    conclusion = result.conclusion
    parts = [_head(result)]
    figures: dict[str, charts.Figure] = {}
    if conclusion is not None:
        parts.append(_verdict(result, conclusion))
    parts.append(_variants(result))
    if conclusion is not None:
        parts += [_rounds(result, conclusion, figures), *_effects(result, conclusion, figures)]
    if result.blocks:
        parts += _times(result, figures)
    if conclusion is not None and conclusion.bill is not None:
        parts += _bill(result, conclusion.bill, figures)
    parts += [_statements(result), _guards(result), _noise(result), _blocks(result), _where(result)]
    return _template().substitute(
        title=escape(f"{result.day}: {result.experiment.title}"),
        colour=_COLOURS[conclusion.verdict.word] if conclusion is not None else "#667085",
        body="\n".join(part for part in parts if part),
        figures=json.dumps(_plain(figures), sort_keys=True, allow_nan=False),
    )


def _plain(figure: Any) -> Any:
    """The same with every text as text: Plotly takes tags for markup, and "<" could end the script element early."""
    if isinstance(figure, dict):
        return {key: _plain(value) for key, value in figure.items()}
    if isinstance(figure, list | tuple):
        return [_plain(value) for value in figure]
    return escape(figure, quote=False) if isinstance(figure, str) else figure


def _template() -> Template:
    return Template(files("costlab.lab").joinpath("report.html").read_text(encoding="utf-8"))


def _head(result: Result) -> str:
    form = result.form
    kind = "quick form" if result.quick else "full form" if whole(result) else "shortened form"
    kind = "A/A run" if result.twins else kind
    status = "" if result.status == "complete" else f" This run was {result.status}."
    return (
        f'<p class="soft">costlab, day {escape(result.day)}</p><h1>{escape(result.experiment.question)}</h1>'
        f'<p class="soft">{escape(result.started)}, {kind}: '
        f"{form.count} rounds of one {form.block_seconds:g} s block per variant after {form.settle_seconds:g} s of "
        f"settling, {result.experiment.load.rate:g} requests per second, {escape(_generators(result))}.{status}</p>"
    )


def _generators(result: Result) -> str:
    return " and ".join(sorted({block.generator for block in result.blocks})) or "no load yet"


def _outcomes(conclusion: Conclusion) -> str:
    return f"<p>Of the blocks: {escape('; '.join(conclusion.outcomes))}.</p>" if conclusion.outcomes else ""


def _verdict(result: Result, conclusion: Conclusion) -> str:
    primary = result.experiment.primary
    effect = conclusion.effect(primary.metric, primary.variant)
    prediction = result.experiment.prediction
    return (
        f'<section class="verdict"><p><span class="word">{conclusion.verdict.word}</span></p>'
        f"<p><b>{escape(primary.variant)}: {escape(words.title(primary.metric))} is {primary.direction}.</b> "
        f"{escape(conclusion.verdict.reason)}.</p>"
        f"<p>Predicted {words.change(prediction.ratio)} ({escape(prediction.because)}), "
        f"measured {words.change(effect.ratio)}.</p>"
        f"{_outcomes(conclusion)}"
        f'<div class="sides"><div><h3>It brings</h3>{_list(conclusion.brings)}</div>'
        f"<div><h3>It costs</h3>{_list(conclusion.costs)}</div></div>"
        f"<h3>Not clear from this run</h3><p>{escape('; '.join(conclusion.unclear) or 'nothing')}</p>"
        f'<h3 class="soft">To keep in mind</h3>{_list(conclusion.caveats, "caveats soft")}</section>'
    )


def _list(lines: Sequence[str], style: str = "") -> str:
    if not lines:
        return "<p>nothing</p>"
    return f'<ul class="{style}">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _rounds(result: Result, conclusion: Conclusion, figures: dict[str, charts.Figure]) -> str:
    primary = result.experiment.primary
    effect = conclusion.effect(primary.metric, primary.variant)
    if not effect.ratios:
        return ""
    limit = primary.threshold()
    if result.noise is not None:
        limit = max(limit, result.noise.floors.get(primary.metric, 0.0))
    figures["rounds"] = charts.rounds(result.experiment, effect, limit)
    shade = "its range" if effect.exact else "its 95 % interval"
    return _section(
        f"Round by round: {words.title(primary.metric)}, {primary.variant} against {result.experiment.baseline}",
        f"Each bar is one pair of blocks with the same requests. Line: the estimate; shade: {shade}; "
        f"dashed: what matters, {100 * limit:.3g} %.",
        _place("rounds"),
    )


def _effects(result: Result, conclusion: Conclusion, figures: dict[str, charts.Figure]) -> Iterable[str]:
    for i, variant in enumerate(result.experiment.names()[1:]):
        figures[f"effects{i}"] = charts.effects(result.experiment, conclusion, variant)
        rows = [
            [
                words.title(effect.metric),
                words.figure(effect.metric, effect.before),
                words.figure(effect.metric, effect.after),
                words.change(effect.ratio),
                words.span(effect) + (", exact" if effect.exact and effect.ratio is not None else ""),
                words.number(effect.p) if effect.p is not None else "",
            ]
            for effect in conclusion.effects
            if effect.variant == variant
        ]
        headings = ["", result.experiment.baseline, variant, "change", "interval", "p"]
        yield _section(
            f"Before and after: {variant}",
            "Figures per request are per successful request. Timed metrics: Hodges-Lehmann estimate over rounds, "
            "95 % interval by bootstrapping rounds, p by exact sign flips. Exact metrics are counted; the range over "
            "the rounds is shown.",
            _table(headings, rows, numbers=range(1, 4), strong={0}) + _place(f"effects{i}"),
        )


def _times(result: Result, figures: dict[str, charts.Figure]) -> Iterable[str]:
    counted = [block for block in result.blocks if not block.repeated]
    figures["distribution"] = charts.distribution(result.experiment, counted)
    figures["tail"] = charts.tail(result.experiment, counted)
    yield _section(
        "Latency",
        "Counted from the moment a request was due, whatever the server did. Above, the share of requests answered "
        "within a time; below, the share that took longer, so that the slowest can be seen. Requests dropped, or given "
        "up after 10 s, count as failed and are in no latency: a longer stall shows there, hardly in the tail.",
        _place("distribution") + _place("tail"),
    )
    figures["series"] = charts.series(result.experiment, result.blocks)
    broken = " Red: a fault was in force." if any(block.faults for block in result.blocks) else ""
    note = f"Median (solid) and 95th percentile (dotted) of each second.{broken}"
    yield _section("Over time", note, _place("series"))
    figures["cpu"] = charts.processor_time(result.experiment, counted)
    yield _section("Where the CPU goes", "All processes of a service, over the measured stretch.", _place("cpu"))


def _bill(result: Result, bill: Bill, figures: dict[str, charts.Figure]) -> Iterable[str]:
    names = result.experiment.names()
    figures["parts"] = charts.parts(result.experiment, bill)
    figures["cost"] = charts.cost(result.experiment, bill)
    figures["sensitivity"] = charts.sensitivity(result.experiment, bill)
    given = bill.assumptions
    rows = [[purpose, *(words.dollars(cost) for cost in costs)] for purpose, costs in bill_rows(bill, names)]
    own = [bill.variants[name] for name in names]
    rows += [
        ["total", *(words.dollars(variant.usd) for variant in own)],
        ["95 % interval", *(words.dollar_span(variant.low, variant.high) for variant in own)],
        ["of it when idle", *(words.dollars(variant.idle_usd) for variant in own)],
        [f"total in steps of {given.vcpu_step:g} vCPU per replica", *(words.dollars(v.in_steps_usd) for v in own)],
    ]
    yield _section(
        f"The bill: USD per month, {bill.sheet.title}",
        ". ".join(map(escape, [*bill_words(bill).splitlines(), assumed_words(bill)])) + ".",
        _table(["", *names], rows, numbers=range(1, len(names) + 1), strong={len(rows) - 4})
        + _place("parts")
        + "<h2>With more or less traffic</h2>"
        + _place("cost")
        + "<h2>If an assumption is another</h2><p class='soft'>R: requests per user and day; F: peak over mean; "
        + "u: how busy a vCPU may be; sheet: the prices of another provider.</p>"
        + _place("sensitivity")
        + f"<h2>Assumptions</h2><p class='soft'>{escape(_assumptions(bill))}</p><h2>Prices</h2>"
        + _table(["service", "unit", "USD", "source", "seen"], _prices(bill), numbers=[2]),
    )


def _assumptions(bill: Bill) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in bill.assumptions.model_dump().items())


def _prices(bill: Bill) -> list[list[str]]:
    prices = [getattr(bill.sheet.rows, key) for key in type(bill.sheet.rows).model_fields]
    return [[p.service, p.unit, f"{p.price:g}", p.source, p.seen] for p in prices if p is not None]


def _statements(result: Result) -> str:
    """The statements that were sent most, per 1,000 successful requests of each variant."""
    names = result.experiment.names()
    per_thousand: dict[tuple[str, str], dict[str, float]] = {}
    for name in names:
        own = [block for block in result.blocks if block.variant == name and not block.repeated]
        succeeded = sum(block.succeeded for block in own)
        for block in own if succeeded else []:
            for one in block.queries.statements:
                row = per_thousand.setdefault((one.role, one.text), dict.fromkeys(names, 0.0))
                row[name] += 1000 * one.calls / succeeded
    ranked = sorted(per_thousand.items(), key=lambda item: (-max(item[1].values()), item[0]))[:_STATEMENTS]
    if not ranked:
        return ""
    rows = [[role, text, *(words.number(row[name]) for name in names)] for (role, text), row in ranked]
    return _section(
        "Statements per 1,000 requests",
        "From pg_stat_statements: exact counts of what PostgreSQL ran for requests.",
        _table(["role", "statement", *names], rows, numbers=range(2, len(names) + 2)),
    )


def _guards(result: Result) -> str:
    rows = []
    for name, text in WORDS.items():
        seen = [guard for block in result.blocks for guard in block.guards if guard.name == name]
        values = [guard.value for guard in seen if guard.value is not None]
        if not seen:
            continue
        broken = sum(guard.kept is False for guard in seen)
        outcome = "not visible here" if not values else f"broken in {broken} of {len(seen)}" if broken else "kept"
        rows.append([text, words.percent(max(values)) if values else "-", f"{100 * seen[0].limit:g} %", outcome])
    note = "The worst block of the run. Broken guards are repeated beside the verdict."
    return _section("Guards", note, _table(["", "worst", "limit", ""], rows, numbers=[1, 2], alarm=3)) if rows else ""


def _noise(result: Result) -> str:
    """What the machine reported for a change that is none, on the day of the run."""
    if result.twins:
        return _section("Noise floor", "This is an A/A run: both variants are the same. What differs is noise.", "")
    if result.noise is None:
        why = result.no_floor or "there was no unspoilt A/A run of its date and conditions"
        note = f"No noise floor holds for this run: {why}. The threshold is the declared effect alone."
        return _section("Noise floor", escape(note), "")
    rows = [
        [words.title(name), words.percent(floor), "decides" if name == result.experiment.primary.metric else ""]
        for name, floor in result.noise.floors.items()
    ]
    note = (
        f"The baseline against itself on this machine, {result.noise.measured}, {result.noise.rounds} rounds of "
        f"{result.noise.block_seconds:g} s: as far as the 95 % interval of a change that is none reached."
    )
    return _section("Noise floor", escape(note), _table(["", "floor", ""], rows, numbers=[1]))


def _blocks(result: Result) -> str:
    """Every block in the order in which it ran."""
    rows = []
    for block in sorted(result.blocks, key=lambda block: block.started_at):
        broken = ", ".join(guard.name for guard in block.guards if guard.kept is False)
        started = datetime.fromtimestamp(block.started_at, UTC).strftime("%H:%M:%S")
        repeated = " (repeated, not counted)" if block.repeated else ""
        p50 = metrics.named("p50_ms").read(block, ())
        figures = [f"{block.planned:,}", f"{block.succeeded:,}", f"{block.dropped:,}", words.figure("p50_ms", p50)]
        rows.append(
            [str(block.round), block.variant + repeated, started, *figures, f"broken: {broken}" if broken else ""]
        )
    if not rows:
        return ""
    headings = ["round", "variant", "UTC", "planned", "succeeded", "dropped", "p50", "guards"]
    table = _table(headings, rows, numbers=range(3, 7), alarm=7)
    return _section("Every block", "", f"<details><summary>{len(rows)} blocks</summary>{table}</details>")


def _variants(result: Result) -> str:
    rows = []
    for name in result.experiment.names():
        variant = result.experiment.variants[name]
        flags = ", ".join(f"{flag} = {value}" for flag, value in variant.flags.items())
        rows.append([name, variant.summary, flags, ", ".join(variant.without) or "nothing"])
    headings = ["variant", "", "flags", "left out of its CPU, memory and bill"]
    return _section("Variants", "", _table(headings, rows))


def _where(result: Result) -> str:
    here = result.environment
    commit = "no git clone" if here.commit is None else here.commit + (" with changes" if here.dirty else "")
    rows = [
        ["machine", f"{here.host}: {here.cores} cores, {here.cpu}, {here.memory_bytes / 2**30:.1f} GiB"],
        ["system", f"{here.system} {here.kernel}, Python {here.python}"],
        ["stack", here.target],
        ["commit", commit],
        ["versions", ", ".join(f"{name} {version}" for name, version in here.versions.items())],
        ["queries counted by", ", ".join(sorted({block.queries.source for block in result.blocks})) or "-"],
        ["memory", ", ".join(sorted({block.memory_kind for block in result.blocks})) or "-"],
        ["traffic", result.experiment.load.traffic],
        ["again", _command(result)],
    ]
    return _section("What ran where", "", _table(["", ""], rows))


def _command(result: Result) -> str:
    """The command that runs the same once more, on the same kind of stack."""
    parts = ["costlab", "run", result.day[:2]]
    parts += ["--quick"] if result.quick else []
    parts += ["--noise"] if result.twins else []
    # An A/A run has half the rounds it is asked for.
    parts += ["--rounds", str(result.form.count * (2 if result.twins else 1)), "--seed", str(result.seed)]
    parts += [f"--set={name}={value}" for name, value in result.given_flags.items()]
    parts += [f"--target={result.environment.target}"] if result.environment.target != "local" else []
    parts += [f"--generator={result.generator}"] if result.generator != "auto" else []
    return shlex.join(parts)


def _section(heading: str, note: str, content: str) -> str:
    explained = f'<p class="soft">{note}</p>' if note else ""
    return f"<section><h2>{escape(heading)}</h2>{explained}{content}</section>"


def _place(name: str) -> str:
    return f'<div id="{name}"></div>'


def _table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Iterable[int] = (),
    strong: Iterable[int] = (),
    alarm: int | None = None,
) -> str:
    """``numbers``: columns set flush right; ``strong``: rows in bold; ``alarm``: the column that may say "broken"."""
    right, bold = set(numbers), set(strong)
    style = ['class="n"' if i in right else "" for i in range(len(headings))]
    head = "".join(f"<th {style[i]}>{escape(text)}</th>" for i, text in enumerate(headings))
    lines = []
    for place, row in enumerate(rows):
        cells = ""
        for i, text in enumerate(row):
            bad = i == alarm and text.startswith("broken")
            cells += f"<td {_ALARM if bad else style[i]}>{escape(text)}</td>"
        lines.append(f"<tr {_STRONG if place in bold else ''}>{cells}</tr>")
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'
