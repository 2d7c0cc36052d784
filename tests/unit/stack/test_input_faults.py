"""What becomes of the records of faults of the input, where services answer this or that."""

import subprocess
import time

import pytest

from costlab.failure import Failure
from costlab.service.faults import Record, Registry
from costlab.stack import fault_keeper
from costlab.stack.chaos import LEVELS
from costlab.stack.control import ControlError
from costlab.stack.input_faults import FLAG, InputFaults
from costlab.stack.kept_faults import KeptFaults
from tests.loopback import OneService, answering

NOTHING = {"end": []}


def wish(fault, on):
    return Registry.load().wish({"fault": fault, "on": on, "seed": 7})


def record(fault, on):
    return Record.of(wish(fault, on), time.time())


def test_who_looks_while_a_bad_version_is_being_rolled_out_does_not_take_it_for_over(tmp_path):
    rollouts = {}
    with answering(lambda *_: (200, {"rollouts": rollouts})) as url:
        faults, made = InputFaults(OneService(tmp_path, url)), record("bad_version", "users")
        with KeptFaults(tmp_path, "input").kept(made, NOTHING):
            assert faults.active() == []
            rollouts[FLAG] = {"salt": "chaos-7"}
        assert faults.active() == [made]
        rollouts.clear()  # costlab rollout abort
        assert faults.active() == []
    assert list(tmp_path.iterdir()) == []


def test_a_bad_version_that_not_every_process_takes_over_is_taken_back(tmp_path):
    told = []

    def answer(method, path):
        """Takes every rollout over; whether processes have it in force it never says."""
        told.append(method)
        return (503 if path == "/metrics" else 200), {"revision": 7, "flags": {FLAG: "v1"}, "rollouts": {}}

    with answering(answer) as url, pytest.raises(ControlError):
        InputFaults(OneService(tmp_path, url)).apply(wish("bad_version", "users"))
    assert told.count("PATCH") == 2
    assert list(tmp_path.iterdir()) == []


def test_a_rollout_that_cannot_be_taken_back_yet_keeps_no_burst_from_being_cleared(tmp_path):
    def answer(method, path):
        return (
            (503, {"detail": "Redis is away."})
            if method == "PATCH"
            else (200, {"rollouts": {FLAG: {"salt": "chaos-7"}}})
        )

    with answering(answer) as url, subprocess.Popen(["sleep", "600"]) as burst:
        kept = KeptFaults(tmp_path, "input")
        for fault, on, undo in (
            ("bad_version", "users", NOTHING),
            ("traffic_burst", "gateway", {"end": [[burst.pid, fault_keeper.identity(burst.pid)]]}),
            ("bad_version", "users", NOTHING),
        ):
            with kept.kept(record(fault, on), undo):
                pass
        with pytest.raises(Failure, match=r"Redis is away\.; Redis is away\."):
            InputFaults(OneService(tmp_path, url)).clear()
        assert burst.wait(timeout=10) < 0
        assert kept.clear() == 2


def test_what_hangs_is_freed_before_it_is_told_that_a_rollout_is_over():
    assert list(LEVELS).index("service") < list(LEVELS).index("input")
