"""What flags cost: what the benchmark makes of its blocks, and when it says that a limit is exceeded."""

import itertools
import json

import pytest

from benchmarks import flags, off_costs, saving
from benchmarks.off_mechanisms import MECHANISMS


def rounds(added=0.2, count=12):
    """Rounds in which the limit adds so many milliseconds, give or take 5 %."""
    noise = itertools.cycle([0.95, 1.0, 1.05])
    return [
        {"off_ms": 1.0, "gcra_ms": 1.0 + added * f, "redis_ms": 0.2, "off_cpu_us": 500.0, "gcra_cpu_us": 700.0}
        for f in itertools.islice(noise, count)
    ]


def off(costs, called=100.0, host="gateway", count=12):
    """A mechanism whose check takes so many microseconds of a request of ``called``."""
    noise = itertools.cycle([0.99, 1.0, 1.01])
    blocks = [{"with": called + costs * f, "without": called} for f in itertools.islice(noise, count)]
    return {"mechanisms": {"a.flag": {"host": host, "rounds": blocks}}, "ns": {"a flag read": [50.0, 52.0, 51.0]}}


def result(added=0.2, costs=0.1, **more):
    return flags.result(rounds(added), off(costs, **more))


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.2, 0.3, "kept"), (0.36, 0.5, "exceeded"), (0.3, 0.4, "open"), (0.1, 0.35, "kept")]
)
def test_a_limit_is_exceeded_or_kept_only_by_the_whole_interval(low, high, said):
    assert flags.verdict({"low": low, "high": high}, 0.35) == said


@pytest.mark.parametrize(
    ("added", "costs", "said"),
    [(0.2, 0.1, ["kept", "kept"]), (0.6, 0.1, ["exceeded", "kept"]), (0.2, 9.0, ["kept", "exceeded"])],
)
def test_the_limits_are_a_third_of_a_millisecond_and_one_percent(added, costs, said):
    assert flags.verdicts(result(added, costs)) == said


def test_added_latency_is_over_the_block_of_the_same_round():
    assert result(0.2)["rate_limit"]["added_p50_ms"]["estimate"] == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(("host", "share"), [("gateway", 1 / 500), ("service", 1 / 100)])
def test_what_the_gateway_checks_is_a_share_of_all_its_process_does_for_a_request(host, share):
    """The other hosts are measured by what was called alone, which is less, so that shares come out too high."""
    part = result(costs=1.0, host=host)["off"]["a.flag"]
    assert part["share"]["estimate"] == pytest.approx(share, rel=0.02)
    assert part["ratio"]["estimate"] == pytest.approx(1.01, rel=0.001)


def test_the_table_names_every_row_its_interval_and_what_was_exceeded():
    shown = flags.table(result(0.6, 9.0)).splitlines()
    assert [line.split()[-1] for line in shown if "≤" in line] == ["EXCEEDED", "EXCEEDED"]
    assert any(line.split()[:3] == ["a", "flag", "read"] for line in shown)
    assert "500 µs of CPU" in shown[-1]


@pytest.mark.parametrize(("costs", "code"), [(0.1, 0), (9.0, 1)])
def test_it_exits_with_1_when_a_limit_is_exceeded(monkeypatch, capsys, costs, code):
    monkeypatch.setattr("sys.argv", ["bench-flags", "--json"])
    monkeypatch.setattr(flags, "run", lambda size, cleanup: result(costs=costs))
    assert flags.main() == code
    assert json.loads(capsys.readouterr().out)["limits"] == {"rate_limit_ms": 0.35, "off_share": 0.01}


def test_what_is_saved_says_where_it_was_measured(tmp_path):
    file = saving.save({"figure": 7}, "flags", tmp_path)
    kept = json.loads(file.read_text())
    assert (file.parent.name, file.suffix, kept["figure"]) == ("flags", ".json", 7)
    assert {"host", "commit", "versions", "cores"} <= kept["environment"].keys()
    assert kept["environment"]["target"] == "none"


@pytest.fixture
def hosts(redis_url, tmp_path):
    """Without an upstream: what is called here needs none."""
    made = off_costs.Hosts("http://127.0.0.1:9", redis_url, tmp_path)
    yield made
    made.close()


def test_every_mechanism_is_measured_with_and_without_its_checks_and_left_as_it_was(hosts, monkeypatch):
    """Two rounds of two requests, on a gateway that answers without an upstream."""
    monkeypatch.setitem(hosts.calls, "gateway", lambda: hosts.gateway.flags["cache.ttl"])
    before = [check.function.__code__ for row in MECHANISMS for check in row.checks]
    measured = off_costs.measure(hosts, 2, 2, lambda number: None)
    assert measured["mechanisms"].keys() == {row.name for row in MECHANISMS}
    for part in measured["mechanisms"].values():
        assert [block.keys() for block in part["rounds"]] == [{"with", "without"}] * 2
    assert all(len(values) == 2 for values in measured["ns"].values())
    assert [check.function.__code__ for row in MECHANISMS for check in row.checks] == before
