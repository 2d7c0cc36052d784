"""Profiling on the running stack: what each profiler shows at /profile, and that it is gone when it is off."""

import json
import urllib.request

import pytest

from costlab.stack.control import ControlError
from tests.conditions import eventually
from tests.e2e.test_effects import total


def profile(stack, service: str = "users") -> dict:
    """What a service's internal port answers, to anybody."""
    with urllib.request.urlopen(f"{stack.internal_urls()[service]}/profile", timeout=5) as answer:
        return json.load(answer)


def profiled(control) -> float:
    return total(control, "users", "costlab_requests_profiled_total")


def test_cprofile_times_every_call_of_every_request(stack, control, client):
    """ "profiling": off, nothing is kept; cprofile, 10 requests are 10 calls of the route."""
    client.get("/api/users/7")
    assert profile(stack)["profiling"] == "off"
    before = profiled(control)
    control.set_flags({"profiling": "cprofile"})
    for user in range(1, 11):
        assert client.get(f"/api/users/{user}").status == 200
    # What a request took is added when its answer is on its way.
    eventually(lambda: profile(stack)["requests"] == 10)
    assert profiled(control) == before + 10
    rows = profile(stack)["functions"]
    assert all(row["own_seconds"] <= row["total_seconds"] + 1e-6 for row in rows)
    assert any(row["calls"] == 10 and "costlab/service/" in row["function"] for row in rows)
    control.set_flags({"profiling": None})
    client.get("/api/users/7")
    assert profile(stack).keys() == {"profiling", "process"}
    assert profiled(control) == before + 10


def test_tracemalloc_names_the_lines_that_hold_memory(stack, control, client):
    control.set_flags({"profiling": "tracemalloc"})
    assert client.get("/api/users/7").status == 200
    document = profile(stack)
    assert document["bytes"] > 0
    assert any(".py:" in row["line"] and row["bytes"] > 0 for row in document["lines"])
    control.set_flags({"profiling": None})
    assert "bytes" not in profile(stack)


def test_py_spy_takes_samples_locally_and_containers_which_have_none_refuse_it(stack, control, client):
    if stack.name == "compose":
        with pytest.raises(ControlError, match="pip install py-spy"):
            control.set_flags({"profiling": "py-spy"})
        assert control.flags()["profiling"] == "off"
        return
    control.set_flags({"profiling": "py-spy"})
    eventually(lambda: client.get("/api/users/7").status == 200 and _rounds_or_reason(profile(stack)), within=30)
    control.set_flags({"profiling": None})
    assert profile(stack)["profiling"] == "off"


def _rounds_or_reason(document: dict) -> bool:
    """A system that lets no program look into another still says so."""
    return document["rounds"] >= 1 or "error" in document
