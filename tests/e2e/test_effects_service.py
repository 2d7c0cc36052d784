"""Flags that take a restart have their effect on the running stack, and it is the processes that show it."""

import json
import signal

import psutil
import pytest
from typer.testing import CliRunner

from costlab.cli import application
from costlab.stack import restarting
from tests.conditions import eventually
from tests.e2e.test_effects import gunicorn, total

pytestmark = pytest.mark.timeout(300)
SERVICES = {"gateway", "users", "orders", "cache-proxy", "worker"}


def workers(stack, service: str) -> list[psutil.Process]:
    """The worker processes of a service: the children of gunicorn's master; none while it does not run."""
    master = gunicorn(stack, service)
    return master.children() if master is not None and master.is_running() else []


@pytest.fixture
def restart(stack):
    """Set flags and restart; afterwards everything is as it was."""
    yield lambda **flags: restarting.set_flags(stack, flags)[1]
    names = ("service.processes", "service.threads", "service.preload", "service.gc_freeze")
    restarting.set_flags(stack, dict.fromkeys(names))


def memory(stack) -> dict[str, int]:
    """What all processes of users and of orders take, shared pages counted once."""
    used = stack.usage()
    return {name: used[name].memory_bytes for name in ("users", "orders")}


def costlab(*words: str):
    """As a person at the command line."""
    return CliRunner().invoke(application(), words)


def test_processes_threads_and_what_they_share_are_as_the_flags_say(stack, control, client, restart, monkeypatch):
    """ "service.processes", "service.threads", "service.preload" and "service.gc_freeze", in two restarts and back; the
    first by `costlab flags set`, which restarts what is concerned.
    """
    monkeypatch.setattr("costlab.cli.flags.open_stack", lambda target: stack)
    [before] = workers(stack, "users")
    threads = before.num_threads()
    done = costlab("flags", "set", "service.processes=2", "service.threads=3", "cache.ttl=9")
    assert set(done.output.partition("\n")[0].removeprefix("restarted: ").split(", ")) == SERVICES
    assert "in force in every process" in done.output
    rows = {row["name"]: row for row in json.loads(costlab("flags", "list", "--json").output)}
    assert (rows["service.threads"]["kind"], rows["service.threads"]["value"]) == ("restart", 3)
    assert (rows["cache.ttl"]["kind"], rows["cache.ttl"]["value"]) == ("live", 9)
    assert [len(workers(stack, service)) for service in sorted(SERVICES)] == [2] * 5
    eventually(lambda: [worker.num_threads() for worker in workers(stack, "users")] == [threads - 5] * 2)
    assert total(control, "users", "costlab_gc_frozen_objects") == 0
    apart = memory(stack)

    assert set(restart(**{"service.preload": "on", "service.gc_freeze": "on"})) == SERVICES
    shown = control.flags()
    assert (shown["service.processes"], shown["service.preload"], shown["service.gc_freeze"]) == (2, "on", "on")
    assert total(control, "users", "costlab_gc_frozen_objects") > 10_000
    together = memory(stack)
    assert all(together[name] < apart[name] for name in apart)
    assert total(control, "orders", "costlab_catalogue_processes", layout="columnar") == 2
    # The master, which has loaded the app too, does not count as a process that must apply a live flag.
    control.set_flags({"cache.ttl": 11})
    assert all(control.flags(service)["cache.ttl"] == 11 for service in SERVICES)
    for path in ("/api/users/7", "/api/products/7", "/api/users/7/orders"):
        assert client.get(path).status == 200

    assert set(restart(**dict.fromkeys(shown))) == SERVICES
    [after] = workers(stack, "users")
    eventually(lambda: after.num_threads() == threads)
    assert total(control, "users", "costlab_gc_frozen_objects") == 0


def test_a_flag_that_is_so_already_restarts_nothing(stack, restart):
    before = {service: [worker.pid for worker in workers(stack, service)] for service in SERVICES}
    assert restart(**{"service.threads": 8, "service.preload": "off"}) == []
    assert {service: [worker.pid for worker in workers(stack, service)] for service in SERVICES} == before


def test_a_service_that_crashes_comes_back_with_the_recorded_values(stack, control, restart):
    """It reads them itself at every start, whoever starts it."""
    control.set_flags({"service.processes": 2})
    assert len(workers(stack, "users")) == 1
    stack.kill("users", signal.SIGKILL)
    eventually(lambda: len(workers(stack, "users")) == 2, within=30)
    eventually(lambda: next(row.healthy for row in stack.status() if row.name == "users"), within=30)


def test_a_value_that_no_process_could_run_with_restarts_nothing(stack, monkeypatch):
    monkeypatch.setattr("costlab.cli.flags.open_stack", lambda target: stack)
    before = {service: [worker.pid for worker in workers(stack, service)] for service in SERVICES}
    assert costlab("flags", "set", "service.preload=perhaps").exit_code != 0
    assert {service: [worker.pid for worker in workers(stack, service)] for service in SERVICES} == before
