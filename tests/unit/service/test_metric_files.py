"""Metric files of processes that come and go: real forks, and gunicorn's own hook (infra/gunicorn.conf.py)."""

import json
import os
import subprocess
import sys

import pytest

from tests.structure.source import ROOT

pytestmark = pytest.mark.timeout(300)

RESTARTS = 1000
PROGRAM = """
import json, os, runpy, signal, sys
from pathlib import Path
from types import SimpleNamespace

def hook_of_gunicorn():
    child_exit = runpy.run_path("infra/gunicorn.conf.py")["child_exit"]
    return lambda pid: child_exit(None, SimpleNamespace(pid=pid))

def hook_alone():  # a process that has not loaded a whole service forks ten times faster
    from costlab.service import metric_files
    return metric_files.forget_process

forget = {"gunicorn": hook_of_gunicorn, "alone": hook_alone}[sys.argv[1]]()
restarts = int(sys.argv[2])
from costlab.service import metrics

def live(turn):
    metrics.JOBS.labels("done").inc()
    metrics.JOB_SECONDS.observe(0.002)
    metrics.SLOTS_IN_USE.set(1)
    metrics.REQUEST_EXEMPLARS.note(("GET", "/a", "200"), 0.002, "4bf92f3577b34da6a3ce929d0e0e4736")
    if turn % 10 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)

def left():
    files = list(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).iterdir())
    return {"files": len(files), "bytes": sum(file.stat().st_size for file in files)}

seen = []
for turn in range(restarts):
    child = os.fork() or live(turn)
    os.waitpid(child, 0)
    forget(child)
    if turn + 1 in {10, restarts}:
        seen.append(left())
print(json.dumps({"left": seen, "text": metrics.render()[0].decode()}))
"""


def after_restarts(folder, hook: str, restarts: int) -> dict:
    """What is left of processes that lived one after the other, every tenth killed with -9."""
    folder.mkdir()
    command = [sys.executable, "-c", PROGRAM, hook, str(restarts)]
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def after(tmp_path_factory) -> dict:
    return after_restarts(tmp_path_factory.mktemp("metrics") / "files", "alone", RESTARTS)


def test_a_thousand_restarts_leave_no_more_files_and_bytes_than_ten(after):
    ten, thousand = after["left"]
    assert thousand == ten


def test_what_the_dead_counted_stays_in_the_sums_also_of_those_killed(after):
    assert f'costlab_jobs_total{{outcome="done"}} {RESTARTS}.0' in after["text"]
    assert f'costlab_job_duration_seconds_bucket{{le="0.0025"}} {RESTARTS}.0' in after["text"]
    assert f"costlab_job_duration_seconds_count {RESTARTS}.0" in after["text"]


def test_the_live_gauges_of_the_dead_are_gone(after):
    [value] = [line.split()[1] for line in after["text"].splitlines() if line.startswith("costlab_slots_in_use ")]
    assert value == "0.0"  # that of the process which forked them


def test_gunicorns_hook_does_it(tmp_path):
    after = after_restarts(tmp_path / "files", "gunicorn", 10)
    assert 'costlab_jobs_total{outcome="done"} 10.0' in after["text"]
    assert after["left"][0]["files"] < 10


def test_a_master_takes_away_what_killed_ones_have_left_and_nothing_of_a_living_one(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    for name in (f"costlab-{ended.pid}", f"costlab-{os.getpid()}", "costlab-bench", "another"):
        (tmp_path / name / "inside").mkdir(parents=True)
    here = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    program = "import os, runpy; runpy.run_path('infra/gunicorn.conf.py'); print(os.getpid())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=here | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    left = {f"costlab-{os.getpid()}", "costlab-bench", "another", f"costlab-{int(done.stdout)}"}
    assert {path.name for path in tmp_path.iterdir()} == left
