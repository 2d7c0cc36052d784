"""What a dashboard is made of, as Grafana's JSON: panels in rows, every one with a description, a unit, a data source.

    Dashboard("worker", "Worker", "What the worker does.", [
        Row("Jobs", [graph("Done", "Jobs per second.", "ops", (rate("costlab_jobs_total"), "jobs"))]),
    ])

A query is a pair of PromQL and legend. Panels of a row share its width; places and ids follow from the order.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
FAULTS = json.loads((FOLDER.parent / "infra" / "grafana" / "annotations" / "faults.json").read_text())
# Requests of users: all to the gateway but health probes at its public port (costlab/service/health.py).
USERS = 'service="gateway",http_route!~"/livez|/readyz"'
_WITH_EXEMPLARS = "http_server_request_duration_seconds_bucket"
_WIDTH, _HEIGHT, _LOW = 24, 8, 4

Query = tuple[str, str]
Panel = dict


@dataclass(frozen=True)
class Row:
    """A heading and the panels under it, ``across`` of them side by side."""

    title: str
    panels: Sequence[Panel]
    across: int = 3


@dataclass(frozen=True)
class Dashboard:
    """One dashboard; ``uid`` is also the name of its file. ``variables``: name to the values it may have."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    annotations: Sequence[dict] = (FAULTS,)
    variables: dict[str, Sequence[str]] = field(default_factory=dict)

    def document(self) -> dict:
        """The dashboard as Grafana takes it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["costlab"],
            "schemaVersion": 41,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "5s",
            "time": {"from": "now-15m", "to": "now"},
            "timezone": "browser",
            "links": [
                {"type": "dashboards", "title": "costlab", "tags": ["costlab"], "asDropdown": False, "keepTime": True}
            ],
            "annotations": {"list": list(self.annotations)},
            "templating": {"list": [_variable(name, values) for name, values in self.variables.items()]},
            "panels": _placed(self.rows),
        }

    def text(self) -> str:
        """The file: a line per panel, so that a change of one is a change of one line."""
        document = self.document()
        panels = ",\n".join(json.dumps(panel, separators=(",", ":")) for panel in document.pop("panels"))
        head = json.dumps(document, separators=(",", ":"))
        return f'{head[:-1]},"panels":[\n{panels}\n]}}\n'


def graph(title: str, description: str, unit: str, *queries: Query, stacked: bool = False) -> Panel:
    """Curves over time."""
    custom = {"fillOpacity": 40 if stacked else 8, "lineWidth": 1, "showPoints": "never"}
    if stacked:
        custom["stacking"] = {"mode": "normal"}
    options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    panel = _panel("timeseries", title, description, {"unit": unit, "min": 0, "custom": custom}, options, queries)
    # Exemplars are those of the series a query selects, which are the same for each quantile: the first asks for them.
    for target in [target for target in panel["targets"] if _WITH_EXEMPLARS in target["expr"]][:1]:
        target["exemplar"] = True
    return panel


def number(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    steps: Sequence[tuple[float, str]] = (),
    base: str = "green",
) -> Panel:
    """The last value, large. ``steps``: (from which value on, colour); ``base`` below the first."""
    thresholds = [{"color": base, "value": None}, *({"color": colour, "value": value} for value, colour in steps)]
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "none"}
    defaults = {"unit": unit, "thresholds": {"mode": "absolute", "steps": thresholds}}
    return _panel("stat", title, description, defaults, options, queries)


def worst(title: str, description: str, unit: str, *queries: Query) -> Panel:
    """Bars, one per series, as they are now."""
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "orientation": "horizontal", "displayMode": "gradient"}
    return _panel("bargauge", title, description, {"unit": unit, "min": 0}, options, queries)


def rate(metric: str, by: str = "", where: str = "") -> str:
    """How much a counter rises per second, summed by the labels ``by``. ``where``: of which series, as in PromQL."""
    selector = f"{metric}{{{where}}}" if where else metric
    return f"sum{f' by ({by})' if by else ''} (rate({selector}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str = "", where: str = "") -> str:
    """The ``share`` quantile of a histogram, by the labels ``by``; ``where`` as above."""
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', f'{by}, le' if by else 'le', where)})"


def _panel(kind: str, title: str, description: str, defaults: dict, options: dict, queries: Sequence[Query]) -> Panel:
    targets = [
        {"refId": chr(ord("A") + place), "datasource": PROMETHEUS, "expr": expression, "legendFormat": legend}
        for place, (expression, legend) in enumerate(queries)
    ]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": PROMETHEUS,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": targets,
    }


def _variable(name: str, values: Sequence[str]) -> dict:
    current = {"text": values[0], "value": values[0]}
    options = [{"text": value, "value": value, "selected": value == values[0]} for value in values]
    return {"name": name, "type": "custom", "query": ",".join(values), "current": current, "options": options}


def _placed(rows: Sequence[Row]) -> list[Panel]:
    panels: list[Panel] = []
    y = 0
    for row in rows:
        place = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": row.title, "gridPos": place, "panels": []})
        y += 1
        height = _LOW if all(panel["type"] == "stat" for panel in row.panels) else _HEIGHT
        width = _WIDTH // row.across
        for turn, panel in enumerate(row.panels):
            at = {"x": turn % row.across * width, "y": y + turn // row.across * height, "w": width, "h": height}
            panels.append({"id": len(panels) + 1, **panel, "gridPos": at})
        y += -(-len(row.panels) // row.across) * height
    return panels
