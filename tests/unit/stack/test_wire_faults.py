"""What toxiproxy is told, for every fault on the wire that faults.toml lists."""

import re
import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.service.faults import BadFault, Record, Registry
from costlab.stack import ROOT, StackError, toxiproxy, wire
from costlab.stack.control import ANSWER_SECONDS
from costlab.stack.kept_faults import KeptFaults
from costlab.stack.readiness import is_ready
from costlab.stack.wire_faults import DOWN, TOXICS, WireFaults, _toxic
from tests.loopback import answering

REGISTRY = Registry.load()
WIRE = [fault.name for fault in REGISTRY if fault.level == "wire"]
# Of toxiproxy 2.12, by its own documentation.
ATTRIBUTES = {
    "latency": {"latency", "jitter"},
    "bandwidth": {"rate"},
    "timeout": {"timeout"},
    "reset_peer": {"timeout"},
    "slicer": {"average_size", "size_variation", "delay"},
    "limit_data": {"bytes"},
}


def record(fault, rate=1, now=0, **parameters):
    wish = {"fault": fault, "on": "users", "edge": "redis", "parameters": parameters}
    return Record.of(REGISTRY.wish(wish if rate == 1 else wish | {"rate": rate}), now)


class Stack:
    """As far as faults on the wire look at one."""

    def __init__(self, folder, url=None):
        self.faults_folder = folder
        self._url = url

    def toxiproxy_url(self):
        return self._url

    def internal_urls(self):
        return {}


def test_every_fault_on_the_wire_is_made_by_a_toxic_or_by_disabling_the_proxy():
    assert set(WIRE) == {*TOXICS, DOWN}


@pytest.mark.parametrize("fault", TOXICS)
def test_a_toxic_has_exactly_the_attributes_that_toxiproxy_knows(fault):
    toxic = _toxic(record(fault))
    assert set(toxic["attributes"]) == ATTRIBUTES[toxic["type"]]
    assert toxic["stream"] == "downstream"


@given(st.sampled_from(sorted(TOXICS)), st.floats(0.01, 1), st.sampled_from(["upstream", "downstream"]))
@settings(max_examples=50)
def test_rate_and_direction_are_handed_on_and_the_toxic_has_the_name_of_its_record(fault, rate, stream):
    made = record(fault, rate, stream=stream)
    toxic = _toxic(made)
    assert (toxic["toxicity"], toxic["stream"], toxic["name"]) == (rate, stream, made.id)


@given(st.integers(1, 1000), st.integers(0, 1000))
@settings(max_examples=50)
def test_pieces_never_vary_by_more_than_their_size(size, variation):
    """Toxiproxy itself would take it, and cut at negative places."""
    wish = record("wire_slicer", bytes=size, variation=variation)
    if variation < size:
        assert _toxic(wish)["attributes"]["size_variation"] == variation
    else:
        with pytest.raises(BadFault, match="allowed: less than bytes"):
            _toxic(wish)


@pytest.mark.parametrize("fault", WIRE)
def test_without_toxiproxy_in_between_the_reason_says_what_to_do(tmp_path, fault):
    with pytest.raises(BadFault, match="costlab down, then costlab up --wire"):
        WireFaults(Stack(tmp_path)).apply(REGISTRY.wish({"fault": fault, "on": "users", "edge": "redis"}))
    assert list(tmp_path.iterdir()) == []


def test_a_fault_that_toxiproxy_cannot_be_told_of_leaves_nothing_behind(tmp_path):
    with pytest.raises(Exception, match="no toxiproxy answers"):
        WireFaults(Stack(tmp_path, "http://127.0.0.1:9")).apply(
            REGISTRY.wish({"fault": DOWN, "on": "users", "edge": "redis"})
        )
    assert list(tmp_path.iterdir()) == []


def test_who_looks_while_a_toxic_is_being_added_does_not_take_it_for_lost(tmp_path):
    proxies = {"users.redis": {"enabled": True, "toxics": []}}
    with answering(lambda *_: (200, proxies)) as url:
        wires = WireFaults(Stack(tmp_path, url))
        made = record("wire_latency", now=time.time())
        with KeptFaults(tmp_path, "wire").kept(made, {"call": ["DELETE", url, None]}):
            assert wires.active() == []
            proxies["users.redis"]["toxics"].append({"name": made.id})
        assert wires.active() == [made]
        proxies["users.redis"]["toxics"].clear()  # toxiproxy was killed, and started again
        assert wires.active() == []
    assert list(tmp_path.iterdir()) == []


def test_an_edge_that_is_just_being_cut_is_not_cut_twice(tmp_path):
    with answering(lambda *_: (200, {})) as url:
        cut = REGISTRY.wish({"fault": DOWN, "on": "users", "edge": "redis"})
        first = Record.of(cut, time.time())
        with (
            KeptFaults(tmp_path, "wire").kept(first, {"call": ["PATCH", url, {"enabled": True}]}),
            pytest.raises(BadFault, match=f"cut off from redis already; costlab chaos clear {first.id}"),
        ):
            WireFaults(Stack(tmp_path, url)).apply(cut)
        assert KeptFaults(tmp_path, "wire").clear() == 1


def test_who_only_looks_does_not_wait_long_for_a_toxiproxy_that_is_paused(monkeypatch):
    patience = {}

    def hang(request, timeout):
        patience[request.get_method()] = timeout
        raise TimeoutError

    monkeypatch.setattr(toxiproxy._DIRECT, "open", hang)
    paused = toxiproxy.Toxiproxy("http://127.0.0.1:9")
    for ask in (paused.proxies, paused.reset):
        with pytest.raises(StackError, match="does not answer"):
            ask()
    assert patience["GET"] <= ANSWER_SECONDS < patience["POST"]


def test_a_toxiproxy_that_is_killed_while_it_answers_is_a_failure_in_a_line_and_not_ready():
    with answering(lambda *_: (200, {}), missing=100) as url:
        with pytest.raises(StackError, match=r"does not answer: .*100 more expected"):
            toxiproxy.Toxiproxy(url).proxies()
        port = int(url.rpartition(":")[2])
        assert not is_ready(SimpleNamespace(name=wire.TOXIPROXY, port=lambda _: port))


@pytest.mark.parametrize("fault", [fault.name for fault in REGISTRY if fault.level in ("wire", "process")])
def test_every_fault_on_the_wire_and_of_processes_is_tried_on_a_running_stack(fault):
    tried = "".join((ROOT / "tests" / "e2e" / f"test_{level}_faults.py").read_text() for level in ("wire", "process"))
    assert re.search(rf'"{fault}"', tried)


def test_every_edge_can_have_every_fault_on_the_wire():
    for edge in wire.edges():
        for fault in WIRE:
            assert REGISTRY.wish({"fault": fault, "on": edge.service, "edge": edge.dependency}).edge == edge.dependency
