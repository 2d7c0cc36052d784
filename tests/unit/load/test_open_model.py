"""The built-in generator, against a server that misbehaves on demand."""

import socket
import threading

import numpy as np
import psutil
import pytest

from costlab.lab.load import LoadError, LoadSpec, LoadStopped, run_load
from costlab.lab.load.traffic import load_traffic
from tests.conditions import eventually
from tests.unit.load.fake_server import (
    BROWSE,
    CHECKOUT,
    CHUNKED,
    CLOSING,
    CONTINUE_THEN_OK,
    FAILING,
    GARBAGE,
    HANG_UP,
    OK,
    fake_server,
)


def spec_for(url: str, **changes) -> LoadSpec:
    usual = {"traffic": BROWSE, "rate": 100, "seconds": 0.5, "settle_seconds": 0, "seed": 1, "api_key": "demo"}
    return LoadSpec(url, **{**usual, **changes})


def run(url: str, generator: str = "open-model", hooks: dict | None = None, **changes):
    return run_load(spec_for(url, **changes), generator, **(hooks or {}))


def senders() -> list[psutil.Process]:
    """Generator processes of this test run that still exist."""
    return [child for child in psutil.Process().children() if "sender.py" in " ".join(child.cmdline())]


def test_every_planned_request_is_sent_once_in_the_order_of_the_traffic_file():
    with fake_server() as server:
        result = run(server.url, traffic=CHECKOUT, connections=1)
        traffic = load_traffic(CHECKOUT, 1, run="any")
        expected = [traffic.request(i) for i in range(50)]
        assert [(r.method, r.path, r.body) for r in server.received] == [
            (r.method, r.path, r.body or "") for r in expected
        ]
        assert (result.planned, result.sent, result.dropped, len(result.samples)) == (50, 50, 0, 50)
        assert [result.names[i] for i in result.samples["request"]] == [r.name for r in expected]
        assert result.generator == "costlab open-model"
        assert 0 < result.cpu_seconds < 1


def test_requests_carry_the_api_key_and_orders_an_idempotency_key_that_no_other_run_uses():
    with fake_server() as server:
        run(server.url, traffic=CHECKOUT)
        run(server.url, traffic=CHECKOUT)
        assert {r.headers["x-api-key"] for r in server.received} == {"demo"}
        keys = [r.headers["idempotency-key"] for r in server.received if r.method == "POST"]
        assert len(keys) > 20
        assert len(set(keys)) == len(keys)


def test_the_settle_stretch_is_sent_but_not_counted_and_probes_see_neither_more_nor_less():
    seen: dict[str, int] = {}
    with fake_server() as server:
        hooks = {
            "on_measure_start": lambda: seen.update(start=len(server.received)),
            "on_measure_end": lambda: seen.update(end=len(server.received)),
        }
        result = run(server.url, hooks=hooks, settle_seconds=0.3)
    assert seen == {"start": 30, "end": 80}
    assert len(result.samples) == 50
    assert result.samples["planned_at"][[0, -1]] == pytest.approx([0, 0.49])


def test_poisson_arrivals_reach_the_server_as_often_as_planned():
    with fake_server() as server:
        result = run(server.url, arrivals="poisson")
    assert (result.planned, len(server.received)) == (50, 50)
    assert len(np.unique(np.diff(result.samples["planned_at"]).round(6))) > 40


@pytest.mark.parametrize("answer", [OK, CHUNKED, CLOSING, CONTINUE_THEN_OK], ids=["plain", "chunked", "closing", "100"])
def test_every_way_of_framing_an_answer_is_understood_and_all_its_bytes_are_counted(answer):
    with fake_server(answer) as server:
        samples = run(server.url).samples
    assert set(samples["status"]) == {200}
    assert set(samples["bytes"]) == {len(answer)}


def test_a_server_error_is_a_sample_with_its_status():
    with fake_server(FAILING) as server:
        result = run(server.url)
    assert set(result.samples["status"]) == {500}
    assert result.sent == 50


@pytest.mark.parametrize("answer", [HANG_UP, GARBAGE], ids=["hangs up", "not HTTP"])
def test_a_broken_answer_is_a_sample_with_status_0(answer):
    with fake_server(answer) as server:
        result = run(server.url)
    assert set(result.samples["status"]) == {0}
    assert (result.sent, result.dropped) == (50, 0)


def test_a_server_that_dies_in_the_middle_leaves_samples_with_status_0_and_no_hang():
    with fake_server() as server:
        result = run(server.url, hooks={"on_measure_start": server_stop(server)}, settle_seconds=0.1)
    assert set(result.samples["status"]) == {0}
    assert result.planned == result.sent + result.dropped


def server_stop(server):
    def stop() -> None:
        server.answer = HANG_UP

    return stop


def test_an_unanswered_request_ends_at_its_timeout_and_those_in_line_for_half_of_it_are_dropped():
    with fake_server() as server:
        server.gate.clear()
        result = run(server.url, connections=5, timeout=0.4, seconds=0.1)
    assert (result.planned, result.sent, result.dropped) == (10, 5, 5)
    assert set(result.samples["status"]) == {0}
    assert result.samples["latency"] == pytest.approx(0.4, abs=0.1)


def test_a_request_that_waits_for_a_connection_is_charged_from_its_planned_time():
    """One connection, answers held back for 0.4 s: what was planned meanwhile pays for the wait."""
    with fake_server() as server:

        def hold_back() -> None:
            server.gate.clear()
            threading.Timer(0.4, server.gate.set).start()

        samples = run(server.url, connections=1, seconds=0.3, hooks={"on_measure_start": hold_back}).samples
    waited = samples["latency"] + samples["planned_at"]
    assert waited.min() > 0.2  # nothing was answered before the gate opened
    assert samples["latency"][0] > samples["latency"][-1]


def test_progress_tells_phase_and_counters_and_ends_within_one():
    heard: list[tuple[float, dict]] = []
    with fake_server() as server:
        run(
            server.url,
            hooks={"progress": lambda done, facts: heard.append((done, facts))},
            seconds=1.2,
            settle_seconds=1.2,
        )
    assert [facts["phase"] for _, facts in heard] == ["settle", "measure"]
    assert heard[0][0] == pytest.approx(1 / 2.4, abs=0.1)
    assert heard[1][1]["planned"] == 120
    assert heard[1][1]["answered"] > 50


def test_stop_ends_the_load_at_once_and_leaves_no_process():
    stop = threading.Event()
    with fake_server() as server, pytest.raises(LoadStopped):
        run(server.url, hooks={"stop": stop, "on_measure_start": stop.set}, seconds=60)
    assert not senders()


def test_a_probe_that_fails_ends_the_load_and_leaves_no_process():
    def fail() -> None:
        raise RuntimeError("no metrics")

    with fake_server() as server, pytest.raises(RuntimeError, match="no metrics"):
        run(server.url, hooks={"on_measure_start": fail}, seconds=60)
    assert not senders()


def test_a_generator_that_is_killed_is_an_error_and_not_a_result():
    with fake_server() as server, pytest.raises(LoadError, match="generator ended with code -9"):
        run(server.url, hooks={"on_measure_start": lambda: senders()[0].kill()}, seconds=60)
    eventually(lambda: not senders())


def test_a_base_url_where_nothing_listens_is_named():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(LoadError, match=f"cannot reach {url}: .*refused"):
            run(url)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate": 0}, "rate is 0; allowed: a number of requests per second above 0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"seconds": -1}, "seconds is -1"),
        ({"settle_seconds": -0.1}, "settle_seconds is -0.1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"connections": 0}, "connections is 0"),
        ({"api_key": "a\r\nb"}, "api_key is"),
        ({"arrivals": "bursty"}, "arrivals is 'bursty'; allowed: uniform or poisson"),
    ],
)
def test_a_wrong_number_is_refused_with_what_is_allowed(changes, said):
    with pytest.raises(LoadError) as caught:
        spec_for("http://127.0.0.1:1", **changes)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:80", "ftp://a", "http://", "http://a:99999", "http://a?b=1", "http://u:p@a"]
)
def test_a_base_url_that_is_none_is_refused(url):
    with pytest.raises(LoadError, match="base_url"):
        spec_for(url)


def test_an_unknown_generator_is_refused_with_the_known_ones():
    with pytest.raises(LoadError, match="allowed: auto, k6, k6-docker, open-model"):
        run("http://127.0.0.1:1", generator="ab")


def test_the_built_in_generator_says_that_it_speaks_no_tls():
    with fake_server() as server, pytest.raises(LoadError, match="plain HTTP only"):
        run(server.url.replace("http:", "https:"))
