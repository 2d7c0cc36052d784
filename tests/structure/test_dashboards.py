"""Dashboards, rules, their sources and the metrics they ask for agree."""

import json
import re

import pytest
import yaml

from costlab.service.health import PATHS
from dashboards import prices
from dashboards.catalogue import DASHBOARDS
from dashboards.grafana import FOLDER, PROMETHEUS, USERS
from tests.structure.grafana_schema import violations
from tests.structure.source import ROOT
from tests.structure.test_registries import COMPOSE, METRICS

FILES = sorted(FOLDER.glob("*.json"))
PANELS = [
    pytest.param(panel, id=f"{path.stem}: {panel['title']}")
    for path in FILES
    for panel in json.loads(path.read_text())["panels"]
    if panel["type"] != "row"
]
RULES = [
    rule
    for path in sorted((ROOT / "infra" / "prometheus" / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
# What Prometheus itself says.
OWN = {"up", "ALERTS"}
# What k6 writes by remote write.
K6 = {"k6_http_reqs_total", "k6_http_req_duration_p95"}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
SERIES = {metric._name + suffix for metric in METRICS.values() for suffix in SUFFIXES[metric._type]}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
LABELS = {label for metric in METRICS.values() for label in metric._labelnames}
# Set by Prometheus at the scrape (prometheus.yml), by a histogram, by our rules.
OTHER_LABELS = {"service", "job", "le", "slo", "sheet", "kind", "alertstate"}


def names(expression: str) -> set[str]:
    """The metrics a PromQL expression asks for; ours all have an underscore, a colon, or stand in OWN."""
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]|\{[^}]*\}|\b(by|on|ignoring|group_left)\s*\([^)]*\)', "", expression)
    words = set(re.findall(r"[a-zA-Z_][\w:]*(?!\w*\s*\()", bare))
    return {word for word in words if re.search(r"[_:]", word) or word in OWN} - {"group_left"}


def labels(expression: str) -> set[str]:
    """The labels it filters and groups by."""
    grouped = re.findall(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)", expression)
    filtered = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    return {label.strip() for found in grouped for label in found.split(",") if label.strip()} | set(filtered)


def test_the_names_in_an_expression_are_found():
    assert names('histogram_quantile(0.9, sum by (le) (rate(a_bucket{b_c="d_e"}[5m]))) / slo:x:y or vector(0)') == {
        "a_bucket",
        "slo:x:y",
    }


def test_every_dashboard_is_what_its_source_writes_and_named_by_its_uid():
    assert {path.name for path in FILES} == {f"{dashboard.uid}.json" for dashboard in DASHBOARDS}
    for dashboard in DASHBOARDS:
        said = "run `make dashboards`"
        assert (FOLDER / f"{dashboard.uid}.json").read_text() == dashboard.text(), said
        assert dashboard.document()["uid"] == dashboard.uid


def test_the_rules_of_the_prices_are_those_of_the_sheets():
    assert prices.FILE.read_text() == prices.text(), "run `make dashboards`"


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_says_what_it_shows_in_which_unit_from_where(panel):
    assert len(panel["description"]) > 10
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == PROMETHEUS
    assert panel["targets"]
    assert all(target["datasource"] == PROMETHEUS and target["legendFormat"] for target in panel["targets"])
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("panel", PANELS)
def test_every_legend_names_labels_that_the_query_leaves(panel):
    for target in panel["targets"]:
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert shown <= labels(target["expr"]) | LABELS | OTHER_LABELS


@pytest.mark.parametrize(
    "expression",
    [target["expr"] for panel in PANELS for target in panel.values[0]["targets"]] + [rule["expr"] for rule in RULES],
)
def test_every_metric_and_label_that_is_asked_for_exists(expression):
    assert names(expression) <= SERIES | RECORDED | OWN | K6
    assert labels(expression) <= LABELS | OTHER_LABELS


def test_requests_of_users_are_those_to_the_gateway_but_health_probes():
    assert f'service="gateway",http_route!~"{"|".join(sorted(PATHS))}"' == USERS


def test_whatever_counts_the_gateways_requests_in_one_sum_leaves_out_health_probes():
    """What is shown per route may show theirs."""
    rules = [rule["expr"] for rule in RULES]
    shown = [target for panel in PANELS for target in panel.values[0]["targets"]]
    sums = rules + [target["expr"] for target in shown if "{{http_route}}" not in target["legendFormat"]]
    selectors = re.findall(r"http_server\w*(?::\w+)?\{([^}]*)\}", "".join(sums))
    of_gateway = [selector for selector in selectors if 'service="gateway"' in selector]
    assert len(of_gateway) > 10
    assert [selector for selector in of_gateway if USERS not in selector] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_panels_have_ids_of_their_own_and_do_not_overlap(path):
    document = json.loads(path.read_text())
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in document["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_grafana_knows_every_field_and_value_by_its_published_schema(path):
    assert violations(json.loads(path.read_text())) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"titel": "a"}, "dashboard.titel: no such field"),
        ({"refresh": 5}, "dashboard.refresh: 5 is not <class 'str'>"),
        ({"annotations": {"list": [{"name": "a", "enable": "yes", "iconColor": "red"}]}}, "enable: 'yes' is not"),
        (
            {"panels": [{"type": "stat", "targets": [{"datasource": PROMETHEUS, "expr": 1}]}]},
            "targets[0].expr: 1 is not",
        ),
        ({"panels": [{"type": "timeseries", "options": {"legend": {"placement": "left"}}}]}, "'left' is not one of"),
        ({"panels": [{"type": "timeseries", "fieldConfig": {"defaults": {"unti": "s"}}}]}, "unti: no such field"),
        ({"panels": [{"type": "stat", "options": {"graphMod": "none"}}]}, "graphMod: no such field"),
        (
            {"panels": [{"type": "timeseries", "fieldConfig": {"defaults": {"custom": {"lineWidth": "1"}}}}]},
            "line_width: '1' is not",
        ),
    ],
)
def test_what_grafana_does_not_know_is_found(change, said):
    assert any(said in one for one in violations({"title": "a", "schemaVersion": 41} | change))


def test_grafana_is_given_the_data_source_and_the_folder_of_dashboards_by_the_names_in_use():
    sources = yaml.safe_load((ROOT / "infra" / "grafana" / "datasources" / "datasources.yaml").read_text())
    assert PROMETHEUS["uid"] in {source["uid"] for source in sources["datasources"]}
    [provider] = yaml.safe_load((ROOT / "infra" / "grafana" / "dashboards" / "dashboards.yaml").read_text())[
        "providers"
    ]
    grafana = COMPOSE["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    assert mounts["./dashboards"] == provider["options"]["path"]
    assert mounts["./infra/grafana/dashboards"] == "/etc/grafana/provisioning/dashboards"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/overview.json"


def test_prometheus_is_given_the_rules():
    asked = yaml.safe_load((ROOT / "infra" / "prometheus" / "prometheus.yml").read_text())["rule_files"]
    mounts = dict(volume.split(":")[:2] for volume in COMPOSE["services"]["prometheus"]["volumes"])
    assert asked == ["rules/*.yml"]
    assert mounts["./infra/prometheus/rules"] == "/etc/prometheus/rules"


def test_every_alert_names_a_dashboard_that_exists():
    alerts = [rule for rule in RULES if "alert" in rule]
    assert alerts
    for rule in alerts:
        assert (FOLDER / f"{rule['annotations']['dashboard']}.json").exists()
