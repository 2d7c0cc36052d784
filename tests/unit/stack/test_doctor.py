"""``costlab doctor``: what is here, what each thing is for, how to get the rest."""

import json

import pytest
from typer.testing import CliRunner

from costlab.cli import application
from costlab.stack import binaries, doctor

LOOKED_FOR = {
    "Python", "PostgreSQL", "Redis", "supervisor", "ports", "k6", "toxiproxy", "Docker", "Compose", "Prometheus",
    "Grafana", "Jaeger", "cores", "memory", "disk",
}  # fmt: skip


@pytest.fixture
def bare_machine(monkeypatch, tmp_path):
    """Nothing on PATH, and no K6."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("K6", "TOXIPROXY", "PROMETHEUS", "GRAFANA", "JAEGER", "GOPATH", "GOBIN"):
        monkeypatch.delenv(variable, raising=False)


def test_everything_is_looked_for_and_says_what_it_is_for(tmp_path):
    findings = list(doctor.examine(tmp_path))
    assert {finding.name for finding in findings} == LOOKED_FOR
    assert all(finding.purpose and finding.found for finding in findings)


@pytest.mark.usefixtures("bare_machine")
def test_what_is_missing_says_how_to_get_it(tmp_path):
    findings = {finding.name: finding for finding in doctor.examine(tmp_path)}
    for name in ("k6", "toxiproxy", "Docker", "Compose", "Prometheus", "Grafana", "Jaeger"):
        assert not findings[name].ok
        assert not findings[name].needed
        assert findings[name].how


def test_a_state_folder_that_is_not_there_yet_lies_on_the_disk_of_its_nearest_parent(tmp_path):
    disk = next(finding for finding in doctor.examine(tmp_path / "not" / "yet") if finding.name == "disk")
    assert disk.found.endswith(str(tmp_path))


def test_the_same_as_json_for_a_machine():
    done = CliRunner().invoke(application(), ["doctor", "--json"])
    assert {finding["name"] for finding in json.loads(done.stdout)} == LOOKED_FOR


def test_exit_code_3_where_the_local_stack_cannot_run(bare_machine, monkeypatch):
    monkeypatch.setattr(binaries, "_wheel", lambda package, pattern: [])
    done = CliRunner().invoke(application(), ["doctor"])
    assert done.exit_code == 3
    assert "missing  Redis" in done.stdout
    assert "for: cache, job stream and flags" in done.stdout
