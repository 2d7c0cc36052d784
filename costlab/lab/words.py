"""Figures in words: three significant digits, percentages with a sign, dollars with cents."""

import math
from typing import TYPE_CHECKING

from costlab.lab import metrics

if TYPE_CHECKING:
    from costlab.lab.effect import Effect


def number(value: float | None) -> str:
    """1,230 - 12.3 - 0.0123; a dash where there is none."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def figure(name: str, value: float | None) -> str:
    """A value of the metric ``name`` with its unit; shares as percentages."""
    if value is None:
        return "-"
    if name.endswith("_share"):
        return percent(value)
    return f"{number(value)} {metrics.named(name).unit}".rstrip()


def percent(share: float) -> str:
    """0.1234 is 12.3 %."""
    return f"{100 * share:.1f} %"


def change(ratio: float | None) -> str:
    """A ratio as the change it is: 0.83 is -17.0 %."""
    return "-" if ratio is None else f"{100 * (ratio - 1):+.1f} %"


def span(effect: "Effect") -> str:
    """How sure the change is: its 95 % interval, or the range over the rounds when it was counted."""
    if effect.low is None or effect.high is None:
        return effect.refused or "-"
    return f"{100 * (effect.low - 1):+.1f} to {change(effect.high)}"


def not_compared(effect: "Effect") -> str:
    """That latencies are not, where the two variants fail at different rates; empty otherwise."""
    return "not compared" if effect.refused and metrics.named(effect.metric).latency else ""


def dollars(value: float | None, *, sign: bool = False) -> str:
    """USD with cents."""
    if value is None:
        return "-"
    return f"{value:+,.2f}" if sign else f"{value:,.2f}"


def dollar_span(low: float | None, high: float | None, *, sign: bool = False) -> str:
    """An interval of USD."""
    if low is None or high is None:
        return "no interval from one round"
    return f"{dollars(low, sign=sign)} to {dollars(high, sign=sign)}"


def title(name: str) -> str:
    """The label of a metric."""
    return metrics.named(name).label
