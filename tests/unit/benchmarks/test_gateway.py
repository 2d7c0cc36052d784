"""The gateway's benchmark: what it makes of its blocks, and what it says when it cannot run."""

import argparse
import itertools

import pytest

from benchmarks import gateway
from benchmarks.gateway import Block


def rounds(off, on, nginx=100.0, count=6):
    """Rounds in which the proxies take that much CPU, give or take 2 %."""
    noise = itertools.cycle([0.98, 1.0, 1.02])
    return [
        {
            "direct": Block(1000, 0),
            "nginx": Block(1100, nginx * factor),
            "gateway, all off": Block(1500, off * factor),
            "gateway, all on": Block(1900, on * factor),
        }
        for factor in itertools.islice(noise, count)
    ]


def result(*arguments):
    exported = {"exports": 3, "bytes": 4096}
    return gateway._result(rounds(*arguments), argparse.Namespace(requests=400), exported)


@pytest.mark.parametrize(
    ("off", "on", "within"), [(600, 900, True), (699, 999, True), (800, 900, False), (600, 1100, False)]
)
def test_the_targets_are_seven_and_ten_times_nginxs_cpu(off, on, within):
    assert result(off, on)["within_targets"] is within


def test_ratios_are_taken_within_rounds_so_that_a_slow_minute_hits_both():
    rows = result(600, 900)["contenders"]
    assert rows["gateway, all off"]["times_nginx"] == pytest.approx({"estimate": 6, "low": 6, "high": 6})


def test_added_latency_is_over_the_direct_block_of_the_same_round():
    assert result(600, 900)["contenders"]["gateway, all off"]["added_p50_us"]["median"] == 500


def test_the_table_says_what_was_missed():
    shown = gateway.table(result(600, 1100)).splitlines()
    assert shown[3].endswith("≤ 7 met")
    assert shown[4].endswith("≤ 10 MISSED")
    assert "6 rounds of 400 requests" in shown[5]


def test_without_nginx_it_says_so_in_one_line_and_exits_with_3(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench-gateway"])
    monkeypatch.setattr(gateway.shutil, "which", lambda *arguments, **options: None)
    assert gateway.main() == 3
    said = capsys.readouterr()
    assert said.err.startswith("bench-gateway: nginx, the yardstick, is not on this machine")
    assert (said.err.count("\n"), said.out) == (1, "")


@pytest.mark.parametrize(
    "arguments", [["--rounds", "1"], ["--requests", "5"], ["--users-url", "http://users"], ["--rounds", "many"]]
)
def test_options_that_make_no_sense_are_refused(monkeypatch, capsys, arguments):
    monkeypatch.setattr("sys.argv", ["bench-gateway", *arguments])
    with pytest.raises(SystemExit) as stopped:
        gateway.main()
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err
