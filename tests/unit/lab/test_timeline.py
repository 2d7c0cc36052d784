"""The faults of a day: what a stack cannot have is refused before anything is measured."""

from types import SimpleNamespace

import pytest

from costlab.lab import timeline
from costlab.lab.errors import LabError
from costlab.lab.experiment import PlannedFault


def stack(toxiproxy=None):
    rows = [SimpleNamespace(name=name) for name in ("users", "users-2", "postgres")]
    return SimpleNamespace(status=lambda: rows, toxiproxy_url=lambda: toxiproxy)


def planned(fault, on="users", **more):
    return [PlannedFault(at=1, seconds=1, fault=fault, on=on, **more)]


def test_a_fault_on_the_wire_needs_a_stack_whose_calls_go_through_toxiproxy():
    faults = planned("wire_latency", edge="postgres", parameters={"ms": 20})
    with pytest.raises(LabError, match="wire_latency: calls on this stack do not go through toxiproxy"):
        timeline.refuse_impossible(faults, stack())
    timeline.refuse_impossible(faults, stack(toxiproxy="http://127.0.0.1:8474"))


def test_a_fault_needs_somebody_it_is_on():
    with pytest.raises(LabError, match="hang on ussers: the stack has none; it has: users, users-2, postgres"):
        timeline.refuse_impossible(planned("hang", on="ussers"), stack())
    for on in ("users", "users-1", "users-2", "postgres"):
        timeline.refuse_impossible(planned("pause", on=on), stack())
