"""The charts of a report, as plain Plotly figures: data and layout, nothing that depends on time or chance."""

import math
from collections.abc import Sequence
from typing import Any

from costlab.lab import histogram, words
from costlab.lab.bill import CURVE, Bill
from costlab.lab.block import Block
from costlab.lab.conclusion import Conclusion
from costlab.lab.effect import Effect
from costlab.lab.experiment import Experiment

Figure = dict[str, Any]
# Okabe & Ito: told apart by the colour-blind too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_GREY = "#667085"
_GRID = "#E4E7EC"


def colours(experiment: Experiment) -> dict[str, str]:
    """One colour per variant."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(experiment.names())}


def effects(experiment: Experiment, conclusion: Conclusion, variant: str) -> Figure:
    """Each metric's change: every round a dot, the estimate a diamond with its interval."""
    shown = [e for e in conclusion.effects if e.variant == variant and e.ratio is not None]
    shown.reverse()
    colour = colours(experiment)[variant]
    labels = [words.title(e.metric) for e in shown]
    rounds_x = [100 * (ratio - 1) for e in shown for ratio in e.ratios]
    rounds_y = [label for e, label in zip(shown, labels, strict=True) for _ in e.ratios]
    middle = [100 * (e.ratio - 1) for e in shown]
    above = [100 * (e.high - e.ratio) if e.high is not None else 0 for e in shown]
    below = [100 * (e.ratio - e.low) if e.low is not None else 0 for e in shown]
    data = [
        _trace("scatter", rounds_x, rounds_y, name="one round", mode="markers", marker=_dot(_GREY, 6, 0.55)),
        _trace(
            "scatter",
            middle,
            labels,
            name="estimate and 95 % interval (exact metrics: range)",
            mode="markers",
            marker={"color": colour, "size": 11, "symbol": "diamond"},
            error_x={"type": "data", "array": above, "arrayminus": below, "color": colour, "thickness": 2},
        ),
    ]
    layout = _layout(f"{variant} against {experiment.baseline}, change in %", height=110 + 34 * len(shown))
    # Wide intervals run out of the picture: scaled to fit, they would leave nothing of the rest to see.
    reach = max(20.0, *(abs(x) for x in rounds_x), *(abs(x) for x in middle)) * 1.15 if middle else 20.0
    layout["xaxis"] |= {
        "range": [max(-100.0, -reach), reach],
        "ticksuffix": " %",
        "zeroline": True,
        "zerolinecolor": "#101828",
        "zerolinewidth": 1.5,
    }
    layout["yaxis"] |= {"automargin": True, "gridcolor": "#FFFFFF"}
    return {"data": data, "layout": layout}


def rounds(experiment: Experiment, effect: Effect, limit: float) -> Figure:
    """The deciding metric, round by round: each pair's change, the estimate with its interval, and what matters.

    ``limit``: the larger of the declared effect and the noise floor, as a share.
    """
    changes = [100 * (ratio - 1) for ratio in effect.ratios]
    numbers = list(range(1, len(changes) + 1))
    colour = colours(experiment)[effect.variant]
    data = [_trace("bar", numbers, changes, name="one round", marker={"color": colour, "opacity": 0.45}, width=0.5)]
    shapes = [_line_at(100 * edge, _GREY, "dash") for edge in (limit, 1 / (1 + limit) - 1) if limit]
    if effect.ratio is not None:
        shapes.append(_line_at(100 * (effect.ratio - 1), colour, "solid"))
    if effect.low is not None and effect.high is not None:
        band = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "line": {"width": 0}}
        ends = {"y0": 100 * (effect.low - 1), "y1": 100 * (effect.high - 1)}
        shapes.append({**band, **ends, "fillcolor": colour, "opacity": 0.15, "layer": "below"})
    layout = _layout("round", height=300)
    layout |= {"shapes": shapes, "showlegend": False}
    layout["xaxis"] |= {"dtick": 1 if len(numbers) <= 20 else 10, "range": [0.4, len(numbers) + 0.6]}
    layout["yaxis"] |= {
        "title": {"text": "change in %"},
        "ticksuffix": " %",
        "zeroline": True,
        "zerolinecolor": "#101828",
        "range": _around([0.0, *changes, *(end for shape in shapes for end in (shape["y0"], shape["y1"]))]),
    }
    return {"data": data, "layout": layout}


def _around(values: Sequence[float]) -> list[float]:
    """A little more than ``values`` take."""
    low, high = min(values), max(values)
    return [low - 0.1 * (high - low) - 0.5, high + 0.1 * (high - low) + 0.5]


def _line_at(y: float, colour: str, dash: str) -> dict[str, Any]:
    line = {"color": colour, "width": 1.5, "dash": dash}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}


def distribution(experiment: Experiment, blocks: Sequence[Block]) -> Figure:
    """Which share of requests was answered within which time, all blocks of a variant merged."""
    data = []
    for name, colour in colours(experiment).items():
        merged = histogram.merge(block.latencies.histogram for block in blocks if block.variant == name)
        total, seen, x, y = sum(merged.values()), 0, [], []
        for bucket, number in merged.items():
            seen += number
            x.append(1000 * histogram.value_of(bucket))
            y.append(100 * seen / total)
        line = {"color": colour, "width": 2, "shape": "hv"}
        data.append(_trace("scatter", x, y, name=name, mode="lines", line=line))
    layout = _layout("latency from the planned send time, ms (logarithmic)", height=380)
    layout["xaxis"] |= {"type": "log", **_ticks()}
    layout["yaxis"] |= {"title": {"text": "share of requests, %"}, "range": [0, 101]}
    return {"data": data, "layout": layout}


def tail(experiment: Experiment, blocks: Sequence[Block]) -> Figure:
    """Which share of requests took longer than that: the slowest hundredth and thousandth, which a mean hides."""
    data = []
    for name, colour in colours(experiment).items():
        merged = histogram.merge(block.latencies.histogram for block in blocks if block.variant == name)
        left = total = sum(merged.values())
        x, y = [], []
        for bucket, number in merged.items():
            x.append(1000 * histogram.value_of(bucket))
            y.append(100 * left / total)
            left -= number
        data.append(_trace("scatter", x, y, name=name, mode="lines", line={"color": colour, "width": 2, "shape": "vh"}))
    layout = _layout("latency from the planned send time, ms (logarithmic)", height=320)
    layout["xaxis"] |= {"type": "log", **_ticks()}
    layout["yaxis"] |= {"type": "log", "title": {"text": "share that took longer, %"}, **_ticks()}
    return {"data": data, "layout": layout}


def series(experiment: Experiment, blocks: Sequence[Block]) -> Figure:
    """The median and the 95th percentile of every measured second, in the order in which the blocks ran."""
    data = []
    start = min(block.started_at for block in blocks)
    for name, colour in colours(experiment).items():
        for statistic, dash in (("p50_ms", "solid"), ("p95_ms", "dot")):
            x, y = [], []
            for block in (block for block in blocks if block.variant == name):
                x += [block.started_at - start + second.at for second in block.series] + [None]
                y += [getattr(second, statistic) for second in block.series] + [None]
            line = {"color": colour, "width": 2, "dash": dash}
            data.append(_trace("scatter", x, y, name=f"{name} {statistic[:3]}", mode="lines", line=line))
    layout = _layout("seconds since the first measured one (gaps: flags, settling)", height=340)
    layout["yaxis"] |= {"title": {"text": "ms"}, "rangemode": "tozero"}
    layout |= _faults(blocks, start)
    return {"data": data, "layout": layout}


def _faults(blocks: Sequence[Block], start: float) -> dict[str, Any]:
    """A shaded stretch for every fault, and its name above the first of its kind."""
    shapes, labels = [], {}
    for block in blocks:
        for fault in block.faults:
            begun, ended = (block.started_at - start + at for at in (fault.at, fault.until))
            shade = {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": begun, "x1": ended, "layer": "below"}
            shapes.append({**shade, "fillcolor": "#F04438", "opacity": 0.14, "line": {"width": 0}})
            where = " ".join(part for part in (fault.on, fault.edge) if part)
            label = {"x": begun, "y": 1, "yref": "paper", "text": f"{fault.fault} on {where}", "showarrow": False}
            labels.setdefault(label["text"], {**label, "xanchor": "left", "yanchor": "top", "font": {"size": 11}})
    # Several kinds begin at about the same time: one under the other.
    annotations = [{**label, "yshift": -14 * i} for i, label in enumerate(labels.values())]
    return {"shapes": shapes, "annotations": annotations} if shapes else {}


def processor_time(experiment: Experiment, blocks: Sequence[Block]) -> Figure:
    """CPU per request by service, databases included, stacked."""
    counted = [block for block in blocks if not block.repeated and block.succeeded]
    services = sorted({name for block in counted for name in block.cpu_seconds})
    names = experiment.names()
    data = []
    for i, service in enumerate(services):
        values = []
        for name in names:
            own = [block for block in counted if block.variant == name]
            shares = [1000 * block.cpu_seconds.get(service, 0.0) / block.succeeded for block in own]
            values.append(sum(shares) / len(shares) if shares else None)
        marker = {"color": _SERVICE_COLOURS[i % len(_SERVICE_COLOURS)]}
        text = [words.number(value) if value and value > _LABELLED_MS else "" for value in values]
        data.append(_trace("bar", values, names, name=service, orientation="h", marker=marker, text=text, textangle=0))
    layout = _layout("CPU ms per successful request", height=150 + 55 * len(names))
    layout |= {"barmode": "stack"}
    layout["legend"] |= {"traceorder": "normal"}
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    return {"data": data, "layout": layout}


# Below this a bar is too narrow for its figure.
_LABELLED_MS = 0.15
_SERVICE_COLOURS = ("#56B4E9", "#0072B2", "#E69F00", "#98A2B3", "#CC79A7", "#009E73", "#D0D5DD", "#F0E442")


def parts(experiment: Experiment, bill: Bill) -> Figure:
    """What each variant's month is made of, stacked."""
    names = experiment.names()
    own = {name: {row.ChargeDescription: row.EffectiveCost for row in bill.variants[name].rows} for name in names}
    purposes = list(dict.fromkeys(row.ChargeDescription for name in names for row in bill.variants[name].rows))
    data = []
    for purpose in purposes:
        values = [own[name].get(purpose, 0.0) for name in names]
        if max(values) > 0:
            marker = {"color": _ROW_COLOURS.get(purpose, _GREY)}
            data.append(_trace("bar", values, names, name=purpose, orientation="h", marker=marker))
    layout = _layout("USD per month", height=190 + 50 * len(names))
    layout |= {"barmode": "stack"}
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    layout["margin"] |= {"t": 70}
    layout["legend"] |= {"traceorder": "normal"}
    return {"data": data, "layout": layout}


_ROW_COLOURS = {
    "CPU of our services": "#0072B2",
    "memory of our services": "#56B4E9",
    "CPU of PostgreSQL": "#98A2B3",
    "memory of PostgreSQL": "#C3C9D4",
    "disk of PostgreSQL": "#E4E7EC",
    "cache node": "#D55E00",
    "bytes to users": "#CC79A7",
    "load balancer": "#F3E3C3",
    "load balancer, work": "#E69F00",
    "traces": "#009E73",
    "logs": "#7FCFB5",
}


def sensitivity(experiment: Experiment, bill: Bill) -> Figure:
    """The difference to the baseline as it stands, and with each assumption moved alone."""
    lines = [("as assumed", {name: one.usd for name, one in bill.differences.items()})]
    lines += [(line.assumption, line.difference) for line in bill.sensitivity]
    data = [
        _trace(
            "bar",
            [difference[name] for _, difference in lines],
            [words for words, _ in lines],
            name=name,
            orientation="h",
            marker={"color": colour},
            text=[f"{difference[name]:+,.2f}" for _, difference in lines],
            textangle=0,
        )
        for name, colour in colours(experiment).items()
        if name != experiment.baseline
    ]
    layout = _layout(
        f"difference to {experiment.baseline}, USD per month", height=120 + 24 * len(lines) * max(1, len(data))
    )
    layout["yaxis"] |= {"autorange": "reversed", "type": "category", "automargin": True}
    layout["xaxis"] |= {"zeroline": True, "zerolinecolor": "#101828"}
    layout |= {"showlegend": len(data) > 1}
    return {"data": data, "layout": layout}


def cost(experiment: Experiment, bill: Bill) -> Figure:
    """USD per month against requests per user and day."""
    data = [
        _trace(
            "scatter",
            list(CURVE),
            bill.variants[name].curve,
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 2},
        )
        for name, colour in colours(experiment).items()
    ]
    layout = _layout("requests per user and day (logarithmic)", height=360)
    here = bill.assumptions.requests_per_user
    marks = [(here, f"R = {here:,.0f}")]
    marks += [(d.break_even, f"{name}: break-even") for name, d in bill.differences.items() if d.break_even is not None]
    marks = [(r, text) for r, text in marks if CURVE[0] <= r <= CURVE[-1]]
    layout["shapes"] = [
        {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": r, "x1": r, "line": {"color": _GREY, "dash": "dot"}}
        for r, _ in marks
    ]
    layout["annotations"] = [
        # On a logarithmic axis a label wants the exponent, a line the value.
        {
            "x": math.log10(r),
            "y": 1,
            "yref": "paper",
            "text": text,
            "showarrow": False,
            "xanchor": "left",
            "yshift": -12 * i,
        }
        for i, (r, text) in enumerate(marks)
    ]
    layout["xaxis"] |= {"type": "log", "tickvals": list(CURVE), "ticktext": [f"{r:,}" for r in CURVE]}
    layout["yaxis"] |= {"type": "log", "title": {"text": "USD per month"}, **_ticks()}
    return {"data": data, "layout": layout}


def _ticks() -> dict[str, Any]:
    """1, 2, 5, 10 ... on a logarithmic axis."""
    values = [step * 10.0**power for power in range(-2, 6) for step in (1, 2, 5)]
    return {"tickvals": values, "ticktext": [f"{value:,.10g}" for value in values]}


def _trace(kind: str, x: Sequence, y: Sequence, **more: Any) -> dict[str, Any]:
    return {"type": kind, "x": list(x), "y": list(y), **more}


def _dot(colour: str, size: int, opacity: float) -> dict[str, Any]:
    return {"color": colour, "size": size, "opacity": opacity}


def _layout(x_title: str, height: int) -> dict[str, Any]:
    axis = {"gridcolor": _GRID, "zerolinecolor": _GRID, "linecolor": _GRID}
    return {
        "height": height,
        "margin": {"l": 70, "r": 20, "t": 40, "b": 55},
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#344054"},
        "paper_bgcolor": "#FFFFFF",
        "plot_bgcolor": "#FFFFFF",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {**axis, "title": {"text": x_title}},
        "yaxis": dict(axis),
    }
