"""What telemetry costs: what the benchmark makes of its blocks."""

import itertools
import os
import subprocess
import sys

import pytest

from benchmarks import telemetry
from tests.structure.source import ROOT


def rounds(times, count=8):
    """Rounds in which telemetry takes so many times the CPU, give or take 1 %, on a machine of changing speed."""
    noise = itertools.cycle([0.99, 1.0, 1.01])
    return [{"on": 1000 * slow * times * next(noise), "off": 1000 * slow} for slow in range(1, count + 1)]


@pytest.mark.parametrize(("times", "said"), [(1.05, "kept"), (1.3, "exceeded")])
def test_the_target_is_held_against_the_ratio_of_each_round(times, said):
    result = telemetry.result([rounds(times), rounds(times)], 500, {"exports": 2, "bytes": 4096})
    assert result["ratio"]["estimate"] == pytest.approx(times, rel=0.02)
    assert result["ratio"]["verdict"] == said
    assert ("EXCEEDED" in telemetry.table(result)) == (said == "exceeded")


def test_what_favours_whoever_was_started_later_is_no_part_of_the_ratio():
    first = [one | {"on": 1.1 * one["on"]} for one in rounds(1.05)]
    last = [one | {"off": 1.1 * one["off"]} for one in rounds(1.05)]
    result = telemetry.result([first, last], 500, {"exports": 2, "bytes": 4096})
    assert result["ratio"]["estimate"] == pytest.approx(1.05, rel=0.02)


@pytest.mark.parametrize(("hook", "counted"), [("", "1.0"), ("benchmarks/telemetry_off", "0.0")])
def test_with_the_hook_nothing_is_counted_in_what_gunicorn_serves_and_gauges_are_set(tmp_path, hook, counted):
    program = """if True:
        import runpy
        runpy.run_path("infra/gunicorn.conf.py")
        from costlab.service import metrics
        metrics.ORDERS_PLACED.labels("created").inc()
        metrics.SLOTS_IN_USE.set(3)
        print(metrics.render()[0].decode())"""
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    environment |= {"PYTHONPATH": hook and str(ROOT / hook), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program, "gunicorn"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert f'costlab_orders_placed_total{{outcome="created"}} {counted}' in said
    assert "costlab_slots_in_use 3.0" in said
