"""The charts of a report, as plain Plotly figures: data and layout, nothing that depends on time or chance."""

from collections.abc import Sequence
from typing import Any

from costlab.lab import histogram, words
from costlab.lab.bill import CURVE, Bill
from costlab.lab.block import Block
from costlab.lab.conclusion import Conclusion
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
    return {"data": data, "layout": layout}


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
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    return {"data": data, "layout": layout}


# Below this a bar is too narrow for its figure.
_LABELLED_MS = 0.15
_SERVICE_COLOURS = ("#56B4E9", "#0072B2", "#E69F00", "#98A2B3", "#CC79A7", "#009E73", "#D0D5DD", "#F0E442")


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
