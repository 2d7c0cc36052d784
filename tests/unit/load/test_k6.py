"""The k6 adapter: how it reads k6's samples, and, where k6 is, that it sends and measures like the built-in one."""

import math
import os
import shutil
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from costlab.lab.load import LoadError, LoadSpec, LoadStopped, run_load, used_for
from costlab.lab.load.k6 import DEFAULT_IMAGE, find_k6
from tests.conditions import eventually
from tests.unit.load.fake_server import BROWSE, CHECKOUT, LOADTESTS, fake_server

K6 = find_k6()
needs_k6 = pytest.mark.skipif(K6 is None, reason="no k6 here: put it on PATH or name it in $K6 to run its tests")


def image_is_here() -> bool:
    if shutil.which("docker") is None:
        return False
    command = ["docker", "image", "inspect", os.environ.get("K6_IMAGE", DEFAULT_IMAGE)]
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


def run(url: str, hooks: dict | None = None, generator: str = "k6", **changes):
    usual = {"traffic": BROWSE, "rate": 50, "seconds": 2, "settle_seconds": 1, "seed": 1, "api_key": "demo"}
    return run_load(LoadSpec(url, **{**usual, **changes}), generator, **(hooks or {}))


def k6_children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if Path(child.name()).name == "k6"]


@pytest.fixture
def telling_k6(tmp_path, monkeypatch):
    """A k6 that says its version and nothing else."""
    program = tmp_path / "k6"
    program.write_text("#!/bin/sh\necho 'k6 v9.9.9 (commit/decade, go1.25, linux/amd64)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("K6", str(program))


@pytest.mark.usefixtures("telling_k6")
@pytest.mark.parametrize(
    ("generator", "named"), [("auto", "k6 v9.9.9"), ("k6", "k6 v9.9.9"), ("open-model", "costlab open-model")]
)
def test_what_load_will_come_from_is_named_as_in_its_result(generator, named):
    assert used_for(BROWSE, generator) == named


@pytest.mark.usefixtures("telling_k6")
def test_traffic_without_a_k6_scenario_comes_from_the_built_in_generator(tmp_path):
    assert used_for(tmp_path / "traffic" / "other.json") == "costlab open-model"


@pytest.mark.parametrize(
    ("generator", "named"),
    [
        ("auto", "costlab open-model"),
        ("k6", "k6, which is missing"),
        ("k6-docker", "k6-docker, which is missing"),
    ],
)
def test_a_generator_that_is_missing_is_no_error_before_the_load_begins(tmp_path, monkeypatch, generator, named):
    monkeypatch.delenv("K6", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert used_for(BROWSE, generator) == named


def test_k6_is_taken_from_the_variable_before_the_path(monkeypatch, tmp_path):
    for folder in ("on_path", "named"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "k6").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "on_path"))
    monkeypatch.delenv("K6", raising=False)
    assert find_k6() == str(tmp_path / "on_path" / "k6")
    monkeypatch.setenv("K6", str(tmp_path / "named" / "k6"))
    assert find_k6() == str(tmp_path / "named" / "k6")


def test_a_variable_that_names_no_program_is_an_error(monkeypatch):
    monkeypatch.setenv("K6", "/nowhere/k6")
    with pytest.raises(LoadError, match="K6=/nowhere/k6 is not an executable"):
        find_k6()


def test_without_k6_the_built_in_generator_is_used_and_k6_by_name_is_refused(monkeypatch):
    monkeypatch.delenv("K6", raising=False)
    monkeypatch.setenv("PATH", "")
    with fake_server() as server:
        assert run(server.url, generator="auto", settle_seconds=0, seconds=0.2).generator == "costlab open-model"
        with pytest.raises(LoadError, match="no k6 here"):
            run(server.url)


@needs_k6
@pytest.mark.parametrize("url", ["http://127.0.0.1:1/api/v1/write", "prometheus:9090", "http://127.0.0.1:no/"])
def test_a_prometheus_that_cannot_take_k6s_metrics_is_refused_before_the_load(monkeypatch, url):
    monkeypatch.setenv("K6_PROMETHEUS_RW_SERVER_URL", url)
    with fake_server() as server, pytest.raises(LoadError, match="K6_PROMETHEUS_RW_SERVER_URL is"):
        run(server.url)


@needs_k6
def test_k6_sends_the_same_requests_as_the_built_in_generator():
    paths = {}
    for generator in ("k6", "open-model"):
        with fake_server() as server:
            result = run(server.url, generator=generator, traffic=CHECKOUT, seconds=1, connections=8)
            assert (result.planned, result.sent, result.dropped) == (50, 50, 0)
            assert len(server.received) == 100
            paths[generator] = [(r.method, r.path, r.body, r.headers["x-api-key"]) for r in server.received]
            posts = [r.headers["idempotency-key"] for r in server.received if r.method == "POST"]
            assert len(set(posts)) == len(posts)
    assert sorted(paths["k6"]) == sorted(paths["open-model"])


@needs_k6
def test_probes_are_read_between_settle_and_measured_stretch():
    seen: dict[str, int] = {}
    counted: list[dict] = []
    with fake_server() as server:
        hooks = {
            "on_measure_start": lambda: seen.update(start=len(server.received)),
            "on_measure_end": lambda: seen.update(end=len(server.received)),
            "progress": lambda done, facts: counted.append(facts),
        }
        result = run(server.url, hooks=hooks)
    assert seen == {"start": 50, "end": 150}
    assert max(facts["answered"] for facts in counted) > 0
    assert result.overlap_seconds == 0
    assert result.generator.startswith("k6 v")
    assert 0 < result.cpu_seconds < 2
    assert set(result.samples["status"]) == {200}
    assert result.samples["bytes"].min() >= 60
    assert result.samples["planned_at"][[0, -1]] == pytest.approx([0, 1.98])


@needs_k6
def test_without_a_settle_stretch_probes_are_read_before_the_first_request_too():
    """As day 10 runs. Its second is charged with its own 50 requests, not with k6's start."""
    seen: dict[str, int] = {}
    with fake_server() as server:
        hooks = {"on_measure_start": lambda: seen.update(start=len(server.received))}
        result = run(server.url, hooks=hooks, settle_seconds=0, seconds=1)
    assert (seen["start"], result.sent, result.overlap_seconds) == (0, 50, 0)
    assert 0 < result.cpu_seconds < 0.5


@needs_k6
def test_probes_that_are_read_while_requests_are_sent_already_are_told_of():
    """The first request is there: the callback returns after the start, whatever the machine is doing."""
    with fake_server() as server:
        hooks = {"on_measure_start": lambda: eventually(lambda: len(server.received) >= 10)}
        result = run(server.url, hooks=hooks, settle_seconds=0, seconds=1)
    assert 0.1 < result.overlap_seconds < 20


@needs_k6
def test_a_stall_with_too_few_virtual_users_drops_requests_and_says_how_many():
    with fake_server() as server:
        hooks = {"on_measure_start": lambda: server.pause(after=1.0, seconds=1)}
        result = run(server.url, hooks=hooks, connections=5)
    assert result.dropped > 20
    assert result.planned == result.sent + result.dropped == 100
    assert math.isclose(result.samples["planned_at"][-1], 1.98, abs_tol=0.03)


@needs_k6
def test_stop_ends_k6_at_once():
    stop = threading.Event()
    with fake_server() as server, pytest.raises(LoadStopped):
        run(server.url, hooks={"stop": stop, "on_measure_start": stop.set}, seconds=60)
    eventually(lambda: not k6_children())


@pytest.mark.skipif(not image_is_here(), reason="no Docker engine with the k6 image: `docker pull` it or set K6_IMAGE")
def test_k6_in_docker_measures_like_k6_outside_and_leaves_no_container():
    with fake_server() as server:
        result = run(server.url, generator="k6-docker")
        assert len(server.received) == 150
    assert (result.planned, result.sent, set(result.samples["status"])) == (100, 100, {200})
    assert result.generator.startswith("k6 v")
    names = subprocess.run(
        ["docker", "ps", "--all", "--format", "{{.Names}}"], capture_output=True, text=True, check=True
    )
    assert "costlab-k6" not in names.stdout


@needs_k6
def test_a_scenario_that_fails_is_an_error_with_k6s_own_words(tmp_path):
    (tmp_path / "traffic").mkdir()
    traffic = shutil.copy(BROWSE, tmp_path / "traffic" / "odd.json")
    (tmp_path / "odd.js").write_text("throw new Error('out of luck');")
    with fake_server() as server, pytest.raises(LoadError, match=r"k6 ended with code 107: .*out of luck"):
        run(server.url, traffic=Path(traffic))


def test_traffic_without_a_scenario_beside_it_is_an_error_that_names_the_missing_file(tmp_path, monkeypatch):
    (tmp_path / "traffic").mkdir()
    traffic = shutil.copy(BROWSE, tmp_path / "traffic" / "odd.json")
    monkeypatch.setenv("K6", shutil.which("true"))
    with fake_server() as server, pytest.raises(LoadError, match=r"has no k6 scenario .*odd\.js"):
        run(server.url, traffic=Path(traffic))


@needs_k6
@pytest.mark.parametrize("script", sorted(LOADTESTS.glob("*.js")), ids=lambda path: path.name)
def test_every_scenario_is_one_that_k6_accepts_and_uses_arrival_rates_only(script, tmp_path):
    answer = subprocess.run(
        [K6, "inspect", "--execution-requirements", str(script)],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert '"executor": "constant-arrival-rate"' in answer.stdout
    assert answer.stdout.count('"executor"') == answer.stdout.count('"constant-arrival-rate"')


@pytest.mark.parametrize("script", sorted(LOADTESTS.glob("*.js")), ids=lambda path: path.name)
def test_every_scenario_stays_under_forty_lines(script):
    assert len(script.read_text().splitlines()) < 40


def test_the_default_image_is_that_of_the_compose_file():
    compose = (LOADTESTS.parent / "docker-compose.yml").read_text()
    assert f"${{K6_IMAGE:-{DEFAULT_IMAGE}}}" in compose
