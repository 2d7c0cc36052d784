"""A judged rollout: it grows while the judge passes, and is taken back whatever else happens."""

import re

import pytest

from costlab.lab.canary import MISMATCHES, SECONDS, Canary, NotOurs, Plan, interval, totals
from costlab.lab.canary_judge import FAIL, NO_DATA, PASS

FLAG = "users.version"
TIMES = ("0.01", "0.1", "+Inf")


class StandIn:
    """A stack with traffic: in every look each group is asked 30 times, and the canary fails ``failing`` times."""

    def __init__(self, failing: int = 0, requests: int = 30) -> None:
        self.failing, self.requests = failing, requests
        self.values = {FLAG: "v1"}
        self.running: dict[str, dict] = {}
        self.percents: list[float] = []
        self.looks = 0
        self.left = 0.0

    def sleep(self, seconds: float) -> None:
        self.looks += 1
        self.left -= seconds

    def rollouts(self) -> dict[str, dict]:
        return {flag: wish | {"seconds_left": self.left} for flag, wish in self.running.items()}

    def roll_out(self, rollouts):
        for flag, wish in rollouts.items():
            self.running.pop(flag, None)
            if wish is not None:
                self.running[flag] = dict(wish)
                self.percents.append(wish["percent"])
                self.left = wish["seconds"]

    def set_flags(self, changes):
        self.values |= changes
        for flag in changes:
            self.running.pop(flag, None)

    def metrics(self, service: str):
        samples = []
        for group, failing in (("baseline", 0), ("canary", self.failing)):
            for outcome, count in (("ok", self.requests - failing), ("error", failing)):
                labels = {"flag": FLAG, "value": "v2", "group": group, "outcome": outcome}
                samples.append((f"{SECONDS}_count", labels, count * self.looks))
                samples += [(f"{SECONDS}_bucket", labels | {"le": time}, count * self.looks) for time in TIMES]
        return samples


def walk(stack, sleep=None, steps=(1, 5, 100)):
    said = []
    plan = Plan(FLAG, "v2", steps, looks=6, seconds=5, live=20)
    return Canary(stack, ["users"], plan, sleep or stack.sleep, said.append).walk(), said


def test_a_good_canary_goes_step_by_step_to_everybody():
    stack = StandIn()
    verdict, said = walk(stack)
    assert verdict.word == PASS
    assert sorted(set(stack.percents)) == [1, 5]
    assert (stack.values, stack.running) == ({FLAG: "v2"}, {})
    assert said[0] == "1 % of the users get v2"


def test_the_rollout_is_renewed_before_its_time_is_over_and_draws_the_same_users():
    stack, salts = StandIn(), set()

    def sleep(seconds):
        stack.sleep(seconds)
        assert stack.left > 0
        salts.add(stack.running[FLAG]["salt"])

    walk(stack, sleep)
    assert stack.percents == [1, 1, 1, 5, 5, 5]
    assert len(salts) == 1
    assert re.fullmatch("[0-9a-f]{8}", salts.pop())


def test_a_bad_canary_is_rolled_back_after_its_first_step():
    stack = StandIn(failing=6)
    verdict, said = walk(stack)
    assert verdict.word == FAIL
    assert set(stack.percents) == {1}
    assert (stack.values, stack.running) == ({FLAG: "v1"}, {})
    assert said[-1] == "rolled back: nobody gets v2 any more"
    assert "worse errors: 0.0% of the baseline, 20.0% of the canary" in said[-2]


def test_a_canary_that_nobody_meets_is_rolled_back_too():
    stack = StandIn(requests=0)
    assert walk(stack)[0].word == NO_DATA
    assert (stack.values, stack.running) == ({FLAG: "v1"}, {})


def test_an_interrupted_walk_is_rolled_back():
    stack = StandIn()

    def interrupted(seconds):
        if stack.looks == 8:
            raise KeyboardInterrupt
        stack.sleep(seconds)

    with pytest.raises(KeyboardInterrupt):
        walk(stack, interrupted)
    assert set(stack.percents) == {1, 5}
    assert (stack.values, stack.running) == ({FLAG: "v1"}, {})


def test_a_rollout_that_somebody_else_ended_is_not_brought_back():
    stack = StandIn()

    def ended(seconds):
        stack.sleep(seconds)
        if stack.looks == 3:
            stack.running.clear()

    with pytest.raises(NotOurs, match="ended by somebody else"):
        walk(stack, ended)
    assert (stack.values, stack.running) == ({FLAG: "v1"}, {})


def test_a_rollout_of_somebody_else_is_left_alone():
    stack = StandIn()
    theirs = {"value": "v2_slow", "percent": 3, "salt": "theirs"}
    stack.running[FLAG] = theirs
    with pytest.raises(NotOurs, match="being rolled out already"):
        walk(stack)
    assert stack.running == {FLAG: theirs}


def test_an_interval_is_what_changed_between_two_looks():
    stack = StandIn(failing=6)
    before = totals(stack.metrics("users"), FLAG)
    stack.looks = 2
    now = totals([*stack.metrics("users"), (MISMATCHES, {"flag": FLAG, "value": "v2"}, 4)], FLAG)
    found = interval(before, now)
    assert (found.baseline.requests, found.baseline.errors, found.baseline.wrong) == (60, 0, 0)
    assert (found.canary.requests, found.canary.errors, found.canary.wrong) == (60, 12, 4)
    assert found.canary.slower == {0.01: 0, 0.1: 0}


def test_an_interval_in_which_a_process_started_anew_counts_nothing():
    stack = StandIn()
    stack.looks = 2
    before = totals(stack.metrics("users"), FLAG)
    stack.looks = 1
    found = interval(before, totals(stack.metrics("users"), FLAG))
    assert (found.baseline.requests, found.canary.requests) == (0, 0)


def test_other_flags_do_not_count():
    assert totals(StandIn().metrics("users"), "other.flag") == {}
