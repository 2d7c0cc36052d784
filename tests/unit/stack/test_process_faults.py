"""Processes that are met: those of every instance of a service, or of the one that is named. No stack runs."""

import signal
import subprocess
from contextlib import ExitStack
from dataclasses import replace

import psutil
import pytest

from costlab.service.faults import BadFault, Registry
from costlab.stack import ServiceStatus, StackError
from costlab.stack.pausing import PausableTree
from costlab.stack.process_faults import ProcessFaults, wait_until_back
from tests.conditions import eventually

REGISTRY = Registry.load()
USERS = ("users", "users-2", "users-3")


class Stack:
    """As far as faults of processes look at one: every instance is a process that sleeps."""

    def __init__(self, folder, pids):
        self.faults_folder = folder
        self.pids = pids
        self.killed, self.restarted = [], []
        self.rows = [ServiceStatus(name, "running", True, pid, 1, 1, 0.0, 0, 1) for name, pid in pids.items()]

    def internal_urls(self):
        return dict.fromkeys((*USERS, "orders"), "")

    def kill(self, service, number):
        if service not in self.pids:
            raise StackError(f"{service} does not run")
        self.killed.append((service, number))

    def restart(self, *services):
        self.restarted.append(services)

    def pausable(self, service):
        return PausableTree(self.pids[service])

    def status(self):
        return self.rows


@pytest.fixture
def stack(tmp_path):
    with ExitStack() as sleepers:
        names = (*USERS, "orders", "redis")
        processes = [sleepers.enter_context(subprocess.Popen(["sleep", "600"])) for _ in names]
        yield Stack(tmp_path, dict(zip(names, (process.pid for process in processes), strict=True)))
        ProcessFaults(Stack(tmp_path, {})).clear()
        for process in processes:
            process.kill()


def wish(fault, on):
    return REGISTRY.wish({"fault": fault, "on": on})


def standing(stack):
    return [name for name, pid in stack.pids.items() if psutil.Process(pid).status() == psutil.STATUS_STOPPED]


@pytest.mark.parametrize(
    ("on", "met"), [("users", USERS), ("users-1", ("users",)), ("users-2", ("users-2",)), ("redis", ("redis",))]
)
def test_a_service_is_met_in_all_its_instances_and_an_instance_alone(stack, on, met):
    faults = ProcessFaults(stack)
    faults.apply(wish("kill", on))
    faults.apply(wish("terminate", on))
    assert stack.killed == [(name, number) for number in (signal.SIGKILL, signal.SIGTERM) for name in met]
    faults.apply(wish("restart", on))
    assert stack.restarted == [met]
    record = faults.apply(wish("pause", on))
    assert faults.active() == [record]
    eventually(lambda: standing(stack) == list(met))
    assert faults.remove(record.id)
    eventually(lambda: standing(stack) == [])


def test_an_instance_that_does_not_run_saves_no_other(stack):
    del stack.pids["users-2"]
    with pytest.raises(StackError, match="users-2 does not run"):
        ProcessFaults(stack).apply(wish("kill", "users"))
    assert [name for name, _ in stack.killed] == ["users", "users-3"]


@pytest.mark.parametrize(("first", "second"), [("users", "users-3"), ("users-1", "users"), ("users-2", "users")])
def test_what_is_paused_with_others_is_not_paused_again(stack, first, second):
    paused = ProcessFaults(stack).apply(wish("pause", first))
    with pytest.raises(
        BadFault, match=rf"{first} is paused already, for another \d+ s; costlab chaos clear {paused.id}"
    ):
        ProcessFaults(stack).apply(wish("pause", second))


def test_two_instances_are_paused_independently(stack):
    for name in ("users-2", "users-3"):
        ProcessFaults(stack).apply(wish("pause", name))
    eventually(lambda: standing(stack) == ["users-2", "users-3"])


def test_killing_one_of_the_paused_ends_the_pause(stack):
    """A pause has one record, so what is left of it would be no pause of anything that has a name."""
    faults = ProcessFaults(stack)
    faults.apply(wish("pause", "users"))
    faults.apply(wish("kill", "users-2"))
    assert faults.active() == []
    eventually(lambda: standing(stack) == [])


def test_a_service_is_back_when_its_last_instance_is(stack):
    looks = []

    def status():
        """One more of them is back each time somebody looks."""
        looks.append(None)
        back = USERS[: max(0, len(looks) - 2)]
        return [replace(row, pid=row.pid + 1 if row.name in back else row.pid) for row in stack.rows]

    stack.status = status
    assert wait_until_back(stack, "users", lambda: None) > 0
    assert len(looks) == 2 + len(USERS)
    with pytest.raises(StackError, match=r"no service 'nobody'; there are users, users-2"):
        wait_until_back(stack, "nobody", lambda: None)
