"""Exemplars: the last sampled request of each bucket, over all processes, for a scraper that asks for OpenMetrics."""

import os
import subprocess
import sys

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from costlab.service.exemplars import Exemplars
from tests.structure.source import ROOT

ACCEPT = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"
HISTOGRAM = "http_server_request_duration_seconds"
ONE, TWO, THREE = (digit * 32 for digit in "123")
# Two processes, one after the other, note an exemplar; a third one is asked.
PROGRAM = f"""
import os, sys
from costlab.service import metric_files, metrics

def note(trace_id, seconds):
    metrics.REQUEST_SECONDS.labels("GET", "/a", "200").observe(seconds)
    metrics.REQUEST_EXEMPLARS.note(("GET", "/a", "200"), seconds, trace_id)

def in_a_child(*noted):
    child = os.fork()
    if child == 0:
        for one in noted:
            note(*one)
        metrics.REQUEST_EXEMPLARS.write()
        os._exit(0)
    os.waitpid(child, 0)
    return child

in_a_child(({ONE!r}, 0.003), ({ONE!r}, 20.0))
gone = in_a_child(({TWO!r}, 0.004))
if sys.argv[1] == "dead":
    metric_files.forget_process(gone)
metrics.JOBS.labels("done").inc()
metrics.SLOTS_IN_USE.set(1)
sys.stdout.write(metrics.render(sys.argv[2])[0].decode())
"""


def test_a_full_disk_withholds_no_answer_and_is_told_of_at_the_pace_of_writing(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "none"))
    kept = Exemplars(["http_route"], (0.1, 1.0))
    for _ in range(2):
        kept.note(("/a",), 0.05, ONE)
    assert [record.getMessage() for record in caplog.records] == ["exemplars.not_written"]


def asked(tmp_path, accept: str, second: str = "alive") -> str:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM, second, accept]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def exemplars(text: str) -> dict[str, str]:
    """Trace ids by the bound of the bucket."""
    samples = [sample for family in openmetrics(text) if family.name == HISTOGRAM for sample in family.samples]
    return {sample.labels["le"]: sample.exemplar.labels["trace_id"] for sample in samples if sample.exemplar}


def test_the_newest_of_each_bucket_over_all_processes_is_shown_in_sound_openmetrics(tmp_path):
    text = asked(tmp_path, ACCEPT)
    assert exemplars(text) == {"0.005": TWO, "+Inf": ONE}
    assert text.endswith("# EOF\n")
    assert 'costlab_jobs_total{outcome="done"} 1.0' in text
    assert "_created" not in text


def test_those_of_a_dead_process_go_with_it(tmp_path):
    assert exemplars(asked(tmp_path, ACCEPT, "dead")) == {"0.005": ONE, "+Inf": ONE}


def test_whoever_does_not_ask_gets_the_text_format_without_them(tmp_path):
    text = asked(tmp_path, "*/*")
    assert ONE not in text
    assert HISTOGRAM in {family.name for family in plain(text)}
    assert "# EOF" not in text


@pytest.mark.parametrize(("seconds", "bound"), [(0.05, "0.1"), (0.1, "0.1"), (0.11, "1.0"), (1.5, "+Inf")])
def test_an_exemplar_lies_in_the_bucket_it_is_shown_at(monkeypatch, seconds, bound):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    noted = Exemplars(("route",), (0.1, 1))
    noted.note(("/a",), seconds, THREE)
    assert list(noted.newest()) == [("/a", bound)]
