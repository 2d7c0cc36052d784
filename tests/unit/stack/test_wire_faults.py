"""What toxiproxy is told, for every fault on the wire that faults.toml lists."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.service.faults import BadFault, Record, Registry
from costlab.stack import ROOT, wire
from costlab.stack.wire_faults import DOWN, TOXICS, WireFaults, _toxic

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


def record(fault, rate=1, **parameters):
    wish = {"fault": fault, "on": "users", "edge": "redis", "parameters": parameters}
    return Record.of(REGISTRY.wish(wish if rate == 1 else wish | {"rate": rate}), now=0)


class Stack:
    """As far as faults on the wire look at one."""

    def __init__(self, folder, url=None):
        self.faults_folder = folder
        self._url = url

    def toxiproxy_url(self):
        return self._url


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


@pytest.mark.parametrize("fault", [fault.name for fault in REGISTRY if fault.level in ("wire", "process")])
def test_every_fault_on_the_wire_and_of_processes_is_tried_on_a_running_stack(fault):
    tried = "".join((ROOT / "tests" / "e2e" / f"test_{level}_faults.py").read_text() for level in ("wire", "process"))
    assert re.search(rf'"{fault}"', tried)


def test_every_edge_can_have_every_fault_on_the_wire():
    for edge in wire.edges():
        for fault in WIRE:
            assert REGISTRY.wish({"fault": fault, "on": edge.service, "edge": edge.dependency}).edge == edge.dependency
