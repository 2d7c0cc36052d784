"""The bill of a run: each variant's month in USD, its interval carried over from the rounds, and when it turns."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from costlab.lab import metrics, pricing, statistics
from costlab.lab.block import Block
from costlab.lab.errors import LabError
from costlab.lab.experiment import Experiment
from costlab.lab.price_sheet import PRICES, Assumptions, Sheet, load_sheet, sheet_names
from costlab.lab.pricing import Measured, Row
from costlab.lab.toml_file import Closed, describe

GIB = 2**30
_SPANS, _SPAN_BYTES = "costlab_spans_started_total", "costlab_span_bytes_total"
_LOG_BYTES = "costlab_log_bytes_total"
CURVE = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)


class VariantBill(Closed):
    """USD per month of one variant. ``low``, ``high``: 95 % interval. ``curve``: USD at each of CURVE's R."""

    rows: list[Row]
    usd: float
    low: float | None
    high: float | None
    idle_usd: float
    in_steps_usd: float
    curve: list[float]


class Difference(Closed):
    """A variant's bill less the baseline's. ``break_even``: requests per user and day at which it is nought.

    ``cheaper_above``: whether the variant is the cheaper one just above that, or anywhere where there is no such.
    ``turns``: where it is nought again, beyond.
    """

    usd: float
    low: float | None
    high: float | None
    in_steps_usd: float
    break_even: float | None
    cheaper_above: bool
    turns: list[float] = Field(default_factory=list)


class Sensitivity(Closed):
    """The difference in USD when one assumption is another."""

    assumption: str
    difference: dict[str, float]


class Bill(Closed):
    """Everything needed to check it: rows, prices with their source, assumptions.

    ``assumed``: what stands in it as assumed because the run did not measure it; None in bills of the first format,
    in which it was PostgreSQL's memory and the bytes of a span.
    """

    sheet_name: str
    sheet: Sheet
    assumptions: Assumptions
    variants: dict[str, VariantBill]
    differences: dict[str, Difference]
    sensitivity: list[Sensitivity]
    assumed: list[str] | None = None


def bill(
    experiment: Experiment,
    blocks: Sequence[Block],
    sheet_name: str,
    given: Assumptions,
    seed: int,
    folder: Path = PRICES,
) -> Bill | None:
    """The bill of all variants; None before one round is complete or when nothing succeeded."""
    sheet = load_sheet(sheet_name, folder)
    rounds = _complete_rounds(experiment, blocks)
    if not rounds or any(block.succeeded == 0 for blocks in rounds.values() for block in blocks):
        return None
    count = len(rounds[experiment.baseline])
    drawn = statistics.resamples(count, seed)
    plain, draws = {}, {}
    for name, own in rounds.items():
        without = experiment.variants[name].without
        plain[name] = measured(own, without)
        draws[name] = measured(own, without, drawn)
    others = [name for name in rounds if name != experiment.baseline]
    base = experiment.baseline
    return Bill(
        sheet_name=sheet_name,
        sheet=sheet,
        assumptions=given,
        variants={name: _variant(plain[name], draws[name], count, sheet, given) for name in rounds},
        differences={
            name: _difference(plain[base], plain[name], draws[base], draws[name], count, sheet, given)
            for name in others
        },
        sensitivity=[
            Sensitivity(
                assumption=words,
                difference={
                    name: float(pricing.total(plain[name], other, changed) - pricing.total(plain[base], other, changed))
                    for name in others
                },
            )
            for words, other, changed in _changed(sheet_name, sheet, given, folder)
        ],
        assumed=_assumed(plain.values()),
    )


def _complete_rounds(experiment: Experiment, blocks: Sequence[Block]) -> dict[str, list[Block]]:
    """The blocks of each variant, from the rounds in which every variant has one."""
    counted = [block for block in blocks if not block.repeated]
    names = experiment.names()
    complete = [
        number
        for number in sorted({block.round for block in counted})
        if {block.variant for block in counted if block.round == number} == set(names)
    ]
    if not complete:
        return {}
    by_place = {(block.round, block.variant): block for block in counted}
    return {name: [by_place[number, name] for number in complete] for name in names}


def measured(blocks: Sequence[Block], without: Collection[str], drawn: np.ndarray | None = None) -> Measured:
    """The mean of the blocks; with ``drawn`` (rows of block numbers) the mean of each row."""

    def mean(values: Sequence[float]) -> pricing.Number:
        array = np.asarray(values, dtype=float)
        return float(array.mean()) if drawn is None else array[drawn].mean(axis=1)

    def per_request(value) -> pricing.Number:
        return mean([value(block) / block.succeeded for block in blocks])

    services = sorted({name for block in blocks for name in metrics.deployed(block.cpu_seconds, without)})
    seen = all("postgres" in block.memory_bytes for block in blocks)
    unsized = any(block.counter(_SPANS) for block in blocks) and not any(block.counter(_SPAN_BYTES) for block in blocks)
    return Measured(
        cpu_seconds={name: per_request(lambda block, name=name: block.cpu_seconds.get(name, 0.0)) for name in services},
        memory_gib=mean([sum(metrics.deployed(block.memory_bytes, without).values()) / GIB for block in blocks]),
        database_cpu_seconds=per_request(lambda block: block.cpu_seconds.get("postgres", 0.0)),
        bytes=per_request(lambda block: block.bytes),
        spans=per_request(lambda block: block.counter(_SPANS)),
        redis="redis" not in without,
        database_gib=mean([block.memory_bytes["postgres"] / GIB for block in blocks]) if seen else None,
        span_bytes=None if unsized else per_request(lambda block: block.counter(_SPAN_BYTES)),
        log_bytes=per_request(lambda block: block.counter(_LOG_BYTES)),
    )


def _assumed(variants: Collection[Measured]) -> list[str]:
    """What of the bill was not measured."""
    names = ["disk of PostgreSQL"]
    if any(one.database_gib is None for one in variants):
        names.append("memory of PostgreSQL")
    if any(one.span_bytes is None for one in variants):
        names.append("bytes of a span")
    return names


def _variant(plain: Measured, draws: Measured, rounds: int, sheet: Sheet, given: Assumptions) -> VariantBill:
    usd = float(pricing.total(plain, sheet, given))
    low, high = _interval(usd, pricing.total(draws, sheet, given), rounds)
    return VariantBill(
        rows=pricing.rows(plain, sheet, given),
        usd=usd,
        low=low,
        high=high,
        idle_usd=pricing.idle(plain, sheet, given),
        in_steps_usd=pricing.in_steps(plain, sheet, given),
        curve=[float(pricing.total(plain, sheet, _with(given, requests_per_user=float(r)))) for r in CURVE],
    )


def _difference(
    before: Measured,
    after: Measured,
    before_draws: Measured,
    after_draws: Measured,
    rounds: int,
    sheet: Sheet,
    given: Assumptions,
) -> Difference:
    usd = float(pricing.total(after, sheet, given) - pricing.total(before, sheet, given))
    drawn = pricing.total(after_draws, sheet, given) - pricing.total(before_draws, sheet, given)
    low, high = _interval(usd, drawn, rounds)
    crossed = pricing.break_evens(before, after, sheet, given)
    busy = _with(given, requests_per_user=1.001 * crossed[0] if crossed else 1e6)
    return Difference(
        usd=usd,
        low=low,
        high=high,
        in_steps_usd=pricing.in_steps(after, sheet, given) - pricing.in_steps(before, sheet, given),
        break_even=crossed[0] if crossed else None,
        cheaper_above=bool(pricing.total(after, sheet, busy) < pricing.total(before, sheet, busy)),
        turns=crossed[1:],
    )


def _interval(usd: float, drawn: pricing.Number, rounds: int) -> tuple[float | None, float | None]:
    low, high = statistics.stretched(usd, np.atleast_1d(drawn), rounds)
    return (low, high) if np.isfinite([low, high]).all() else (None, None)


def _changed(name: str, sheet: Sheet, given: Assumptions, folder: Path) -> list[tuple[str, Sheet, Assumptions]]:
    """Each assumption moved alone, and the other sheets."""
    moves = [
        ("requests_per_user", given.requests_per_user / 10, "R"),
        ("requests_per_user", given.requests_per_user * 10, "R"),
        ("requests_per_user", given.requests_per_user * 100, "R"),
        ("peak_factor", max(1.0, given.peak_factor / 2), "F"),
        ("peak_factor", given.peak_factor * 2, "F"),
        ("utilisation", given.utilisation / 1.5, "u"),
        ("utilisation", min(1.0, given.utilisation * 1.5), "u"),
    ]
    changed = [(f"{symbol} = {value:g}", sheet, _with(given, **{key: value})) for key, value, symbol in moves]
    others = [other for other in sheet_names(folder) if other != name]
    return changed + [(f"sheet {other}", load_sheet(other, folder), given) for other in others]


def _with(given: Assumptions, **changes: float) -> Assumptions:
    return given.model_copy(update=changes)


def break_even_words(difference: Difference) -> str:
    """When the variant is cheaper than the baseline, in words."""
    if difference.break_even is None:
        return "cheaper at any traffic" if difference.cheaper_above else "dearer at any traffic up to R = 1,000,000"
    side = "above" if difference.cheaper_above else "below"
    again = "".join(f", and the other way round from R = {at:,.0f} on" for at in difference.turns)
    return f"cheaper {side} R = {difference.break_even:,.0f} requests per user and day{again}"


def changes(original: Assumptions, overrides: Mapping[str, float | None]) -> Assumptions:
    """``original`` with the overrides that are given, checked like the file they replace."""
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return Assumptions.model_validate(original.model_dump() | given)
    except ValidationError as error:
        raise LabError(f"the bill: {describe(error.errors()[0], Assumptions)}") from error
