"""Faults, what tests them, and what tells of them agree."""

import json
import re

import pytest

from costlab.service import metrics
from costlab.service.faults import Registry
from tests.structure.source import ROOT

MAP = (ROOT / "docs" / "map.md").read_text()


@pytest.mark.parametrize("fault", [fault.name for fault in Registry.load()])
def test_every_fault_has_an_effect_test_on_the_running_stack(fault):
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "e2e").glob("test_*faults.py"))
    assert f'"{fault}"' in tests


def test_every_kind_of_fault_is_on_the_map():
    kinds = [path for path in ROOT.glob("costlab/service/fault_kinds/*.py") if path.name != "__init__.py"]
    assert len(kinds) > 10
    assert [path.name for path in kinds if str(path.relative_to(ROOT)) not in MAP] == []


def test_the_annotation_for_dashboards_asks_for_a_metric_and_labels_that_exist():
    annotation = json.loads((ROOT / "infra" / "grafana" / "annotations" / "faults.json").read_text())
    [name] = re.findall(r"\((costlab_\w+)\)", annotation["expr"])
    [gauge] = [value for value in vars(metrics).values() if getattr(value, "_name", "") == name]
    shown = set(re.findall(r"{{(\w+)}}", annotation["titleFormat"] + annotation["textFormat"]))
    assert shown <= {"service", *gauge._labelnames}
