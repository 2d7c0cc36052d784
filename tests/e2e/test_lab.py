"""The lab on a real stack: exact counts, whole runs, interruptions."""

import threading
from contextlib import closing
from typing import get_args

import pytest

from costlab.lab import catalogue, environment, report, result, verdict
from costlab.lab.errors import Interrupted
from costlab.lab.probes import Probes
from costlab.lab.session import Place, Wish, resume, run_day
from costlab.stack import open_stack
from costlab.stack.chaos import Chaos

pytestmark = pytest.mark.long


class Watcher:
    """Listens to a run; ``act(place)`` may do something when a block begins."""

    def __init__(self, act=lambda place: None):
        self.act, self.said_lines = act, []

    def begun(self, experiment, form):
        pass

    def started(self, place, blocks, planned):
        self.act(place)

    def progressed(self, share, facts):
        pass

    def finished(self, block):
        pass

    def said(self, text):
        self.said_lines.append(text)


@pytest.fixture
def short_day(tmp_path):
    """Day 11 in blocks of one second."""
    text = catalogue.find("11").file.read_text()
    head, quick = text.split("[quick]")
    quick = quick.replace("count = 4", "count = 2").replace("block_seconds = 7", "block_seconds = 1")
    quick = quick.replace("settle_seconds = 5", "settle_seconds = 1")
    folder = tmp_path / "11-caching"
    folder.mkdir()
    (folder / "experiment.toml").write_text(f"{head}[quick]{quick}")
    return catalogue.Day(11, "11-caching", folder)


@pytest.fixture
def restarting_day(short_day):
    """The same with variants that differ in a flag only new processes take over."""
    text = short_day.file.read_text()
    for strategy, threads in (("off", 6), ("ttl", 5)):
        old = f'"cache.strategy" = "{strategy}"'
        text = text.replace(old, f'{old}, "service.threads" = {threads}')
    short_day.file.write_text(text)
    return short_day


def quickly(day, stack, watcher, runs, stop=None):
    wish = Wish(quick=True, seed=1, generator="open-model")
    return run_day(day, wish, Place(stack, watcher, stop or threading.Event(), runs))


def test_a_running_stack_is_found_by_the_url_of_its_gateway(stack):
    """ "--target http://localhost:8080/" is "--target local" where that is its address."""
    for url in (stack.base_url(), stack.base_url().replace("127.0.0.1", "localhost") + "/"):
        found = open_stack(url, stack.folder)
        assert (found.name, found.folder, found.base_url()) == ("local", stack.folder, stack.base_url())


def test_queries_are_counted_exactly(stack, control, client):
    with closing(Probes(stack, control)) as probes:
        client.get("/api/users/1")
        before = probes.before()
        for user in range(1, 26):
            assert client.get(f"/api/users/{user}").status == 200
        rise = probes.after(before)
    assert rise.queries.by_role == {"users": 25}
    assert rise.cpu_seconds["gateway"] > 0
    assert min(rise.memory_bytes.values()) > 0


def test_a_run_ends_in_a_verdict_a_bill_and_a_report_and_leaves_the_flags_alone(stack, control, short_day, tmp_path):
    control.set_flags({"cache.ttl": 77})
    before = control.flags()
    path, finished = quickly(short_day, stack, Watcher(), tmp_path / "runs")
    assert control.flags() == before
    assert finished.status == "complete"
    # Which verdict two blocks of a second come to is up to what else the machine does; it is of what they measured.
    assert finished.conclusion.verdict.word in get_args(verdict.Word)
    queries = {block.variant: sum(block.queries.by_role.values()) for block in finished.blocks}
    assert queries["ttl"] < queries["off"]
    assert finished.conclusion.bill.variants["off"].usd > 0
    assert [block.failed_share for block in finished.blocks] == [0.0] * 4
    assert result.load(path) == finished
    assert report.render(result.load(path)) == report.render(finished)


def test_a_cache_that_is_off_has_no_traffic_and_one_that_is_on_hits(stack, control, short_day, tmp_path):
    _, finished = quickly(short_day, stack, Watcher(), tmp_path / "runs")
    for block in finished.blocks:
        asked = block.counter("costlab_cache_requests_total")
        assert asked == (block.planned if block.variant == "ttl" else 0)
        hits = block.counter("costlab_cache_requests_total", outcome="hit")
        assert (hits > 0) == (block.variant == "ttl")


def test_an_interrupted_run_keeps_its_finished_blocks_puts_the_flags_back_and_can_be_resumed(
    stack, control, short_day, tmp_path, monkeypatch
):
    monkeypatch.setattr(environment, "code", lambda: "the same, though somebody may be editing")
    stop = threading.Event()
    before = control.flags()
    watcher = Watcher(lambda place: stop.set() if place == 4 else None)
    with pytest.raises(Interrupted):
        quickly(short_day, stack, watcher, tmp_path / "runs", stop)
    assert control.flags() == before
    [path] = (tmp_path / "runs" / "11-caching").glob("*.json")
    stored = result.load(path)
    assert (stored.status, len(stored.blocks)) == ("interrupted", 3)
    assert stored.conclusion.verdict.word
    assert any(str(path) in line for line in watcher.said_lines)
    _, finished = resume(short_day, path, Place(stack, Watcher(), threading.Event(), tmp_path / "runs"))
    assert (finished.status, len(finished.blocks)) == ("complete", 4)
    assert finished.blocks[:3] == stored.blocks
    assert control.flags() == before


def test_a_variant_that_takes_a_restart_restarts_every_block_and_is_undone_when_interrupted(
    stack, control, restarting_day, tmp_path
):
    stop = threading.Event()
    watcher = Watcher(lambda place: stop.set() if place == 2 else None)
    first = {row.name: row.pid for row in stack.status()}
    with pytest.raises(Interrupted):
        quickly(restarting_day, stack, watcher, tmp_path / "runs", stop)
    [path] = (tmp_path / "runs" / "11-caching").glob("*.json")
    [block] = result.load(path).blocks
    assert block.flags["service.threads"] == {"off": 6, "ttl": 5}[block.variant]
    assert block.failed_share == 0.0
    assert {control.flags(service)["service.threads"] for service in stack.internal_urls()} == {8}
    last = {row.name: row.pid for row in stack.status()}
    assert {name for name in first if first[name] != last[name]} == set(stack.internal_urls())


def test_a_fault_of_the_day_is_in_force_at_its_second_in_every_block_and_none_is_left(stack, short_day, tmp_path):
    text = (
        short_day.file.read_text().replace("block_seconds = 1", "block_seconds = 4").replace("count = 2", "count = 1")
    )
    fault = 'at = 1.5\nseconds = 2\nfault = "latency"\non = "gateway"\nparameters = { ms = 150 }\n'
    short_day.file.write_text(f"{text}\n[[faults]]\n{fault}")
    _, finished = quickly(short_day, stack, Watcher(), tmp_path / "runs")
    for block in finished.blocks:
        [seen] = block.faults
        assert (seen.fault, seen.on) == ("latency", "gateway")
        assert 1.4 <= seen.at <= 4
        assert max(second.p50_ms for second in block.series) > 100
    assert Chaos(stack).status() == []
