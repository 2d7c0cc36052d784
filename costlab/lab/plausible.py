"""Whether a result that has the right shape also makes sense: no impossible figures, and its parts fit together.

A result file may have been edited, merged or damaged. What does not make sense is refused when it is read, in one
line that names the place, so that nothing that works with a result has to expect it.
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING, Any

from costlab.lab import histogram, metrics
from costlab.lab.bill import CURVE

if TYPE_CHECKING:
    from costlab.lab.effect import Effect
    from costlab.lab.result import Result

# A month of nanoseconds; the largest figures of a run are bytes and unix times.
LARGEST = 2.6e15
# The interval of two rounds reaches four times as far as they are apart: a thousandfold makes one of 1e-15 to 1e+15.
_WIDEST = 1e100
_OF_INTERVALS = ("conclusion.effects.", "noise.floors.")
_YEAR_2200 = 7_258_118_400
# As result.now() writes it.
_TIME = "%Y-%m-%dT%H:%M:%SZ"
# What is counted or used up in a block: never less than nothing.
_AMOUNTS = {
    "planned": True,
    "sent": True,
    "dropped": True,
    "answered_in_time": True,
    "statuses": True,
    "bytes": True,
    "series": True,
    "overlap_seconds": True,
    "cpu_seconds": True,
    "memory_bytes": True,
    "queries": {"by_role": True, "excluded": True, "statements": {"__all__": {"calls"}}},
    "counters": True,
    "time_wait": True,
    "orders": True,
}


def oddity(result: "Result") -> str | None:
    """The first thing that cannot be, or None."""
    checks = (_times, _figures, _blocks, _guards, _noise, _conclusion, _whole)
    return next((odd for check in checks for odd in check(result)), None)


def _times(result: "Result") -> Iterator[str]:
    times = {"started": result.started} | {f"resumed.{i}": time for i, time in enumerate(result.resumed)}
    if result.noise is not None:
        times["noise.measured"] = result.noise.measured
    for place, time in times.items():
        if not _is_time(time):
            yield f"{place} is {time!r:.60}; allowed: a time in UTC as 2026-01-02T03:04:05Z"


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).strftime(_TIME) == text
    except ValueError:
        return False


def _figures(result: "Result") -> Iterator[str]:
    for place, value in _numbers(result.model_dump(), ""):
        if abs(value) > (_WIDEST if place.startswith(_OF_INTERVALS) else LARGEST):
            yield f"{place} is {_short(value)}, which no figure of a run can be"
    if not 0 <= result.seed < 2**32:
        yield f"seed is {result.seed}; allowed: 0 to 4294967295"


def _short(value: float) -> str:
    try:
        return f"{value:.3g}"
    except OverflowError:  # JSON has whole numbers of any length
        return f"beyond {'-' if value < 0 else ''}1e+308"


def _numbers(document: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(document, dict):
        for key, child in document.items():
            yield from _numbers(child, f"{place}.{key}" if place else str(key))
    elif isinstance(document, list):
        for i, child in enumerate(document):
            yield from _numbers(child, f"{place}.{i}")
    elif isinstance(document, int | float):
        yield place, document


def _blocks(result: "Result") -> Iterator[str]:
    for i, block in enumerate(result.blocks):
        if block.variant not in result.experiment.variants:
            known = ", ".join(result.experiment.variants)
            yield f"blocks.{i}.variant is {block.variant!r}; allowed: {known}"
        for place, value in _numbers(block.model_dump(include=_AMOUNTS), f"blocks.{i}"):
            if value < 0:
                yield f"{place} is {value:g}; allowed: 0 or more"
        for status in block.statuses:
            if not (status.isascii() and status.isdecimal() and len(status) <= 3):
                yield f"blocks.{i}.statuses has {status!r}; allowed: HTTP statuses, and 0 for no answer"
        for counted in (block.latencies.histogram, *block.latencies.by_request.values()):
            for bucket, number in counted.items():
                if not 0 <= bucket <= histogram.LARGEST_BUCKET or number < 1:
                    yield f"blocks.{i}.latencies counts {number} in bucket {bucket}; no run does"
        if block.seconds <= 0 or block.elapsed <= 0:
            yield f"blocks.{i} took {block.seconds:g} s, its readings {block.elapsed:g} s; allowed: above 0"
        if not 0 <= block.started_at < _YEAR_2200:
            yield f"blocks.{i}.started_at is {block.started_at:g}; allowed: seconds since 1970, before the year 2200"
        for key in block.counters:
            if " " not in key:
                yield f"blocks.{i}.counters has {key!r}; allowed: 'SERVICE NAME{{LABELS}}'"


def _guards(result: "Result") -> Iterator[str]:
    for i, block in enumerate(result.blocks):
        for j, guard in enumerate(block.guards):
            kept = None if guard.value is None else guard.value <= guard.limit
            if guard.kept != kept:
                said, allowed = json.dumps(guard.kept), json.dumps(kept)
                yield f"blocks.{i}.guards.{j}.kept is {said}; allowed with its value and limit: {allowed}"


def _noise(result: "Result") -> Iterator[str]:
    for name in result.noise.floors if result.noise is not None else ():
        if unknown := _unknown(name):
            yield f"noise.floors: {unknown}"


def _unknown(metric: str) -> str:
    """Why there is no such metric, or nothing."""
    try:
        metrics.named(metric)
    except ValueError as error:
        return str(error)
    return ""


def _conclusion(result: "Result") -> Iterator[str]:
    concluded = result.conclusion
    if concluded is None:
        return
    names = result.experiment.names()
    yield from _effects(concluded.effects, result.experiment.metrics(), names[1:])
    if not result.blocks:
        yield "conclusion rests on no block"
    if concluded.bill is None:
        return
    bill = concluded.bill
    for place, keys, wanted in (
        ("variants", bill.variants, names),
        ("differences", bill.differences, names[1:]),
        *((f"sensitivity.{i}.difference", line.difference, names[1:]) for i, line in enumerate(bill.sensitivity)),
    ):
        if set(keys) != set(wanted):
            yield f"conclusion.bill.{place} is of {', '.join(keys) or 'nobody'}; it should be of {', '.join(wanted)}"
    if any(len(variant.curve) != len(CURVE) for variant in bill.variants.values()):
        yield f"conclusion.bill.variants: a curve does not have {len(CURVE)} points"


def _effects(effects: list["Effect"], declared: list[str], variants: list[str]) -> Iterator[str]:
    for i, effect in enumerate(effects):
        for key, value, allowed in (("variant", effect.variant, variants), ("metric", effect.metric, declared)):
            if value not in allowed:
                yield f"conclusion.effects.{i}.{key} is {value!r}; allowed: {', '.join(allowed)}"
        least = "0 or more" if effect.exact else "above 0"
        for key, value in (("ratio", effect.ratio), ("low", effect.low), ("high", effect.high)):
            if value is not None and value < 1 / _WIDEST and not (effect.exact and value == 0):
                yield f"conclusion.effects.{i}.{key} is {value:g}; allowed: {least}"
    times = Counter((effect.metric, effect.variant) for effect in effects)
    for metric, variant in product(declared, variants):
        if times[metric, variant] != 1:
            yield f"conclusion.effects has {times[metric, variant]} effects of {variant} on {metric}; allowed: 1"


def _whole(result: "Result") -> Iterator[str]:
    counted = Counter((block.round, block.variant) for block in result.blocks if not block.repeated)
    for (number, variant), times in counted.items():
        if times > 1:
            yield f"blocks has {times} blocks of {variant} in round {number}; allowed: 1"
    if result.status == "complete" and counted.total() != result.planned_blocks:
        yield f"status is complete, with {counted.total()} of {result.planned_blocks} planned blocks"
