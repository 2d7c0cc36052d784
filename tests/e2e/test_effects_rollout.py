"""Rollouts on the running stack: a share of the users gets another version, and nobody does when it is a bad one."""

import json
import os
import signal
import subprocess
import sys
import threading
from itertools import count
from typing import Self

import pytest
from typer.testing import CliRunner

from costlab.cli import application
from costlab.failure import Failure
from costlab.lab.canary import Canary, Plan
from costlab.lab.canary_judge import FAIL, PASS
from costlab.stack import ROOT
from costlab.stack.control import ControlError
from tests.conditions import eventually
from tests.e2e.test_effects import total

pytestmark = pytest.mark.usefixtures("control")

FLAG = "users.version"
USERS = range(1, 201)
CLI = [sys.executable, "-c", "from costlab.cli import main; main()"]


def version(client, user: int) -> str:
    return client.get(f"/api/users/{user}").headers["X-Costlab-Version"]


def drawn(client, value: str) -> set[int]:
    return {user for user in USERS if version(client, user) == value}


class Traffic:
    """Four clients who ask for user after user, and which users have met which version."""

    def __init__(self, client) -> None:
        self._client = client
        self._turn = count()
        self._ended = threading.Event()
        self.met: dict[str, set[int]] = {}
        self.asked = 0

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def look(self, _seconds: float) -> None:
        """Wait for half a round of all users, however long it takes on a busy machine."""
        enough = self.asked + len(USERS) / 2
        eventually(lambda: self.asked >= enough, within=60)

    def _ask(self) -> None:
        while not self._ended.is_set():
            user = USERS[next(self._turn) % len(USERS)]
            self.met.setdefault(version(self._client, user), set()).add(user)
            self.asked += 1


def walked(stack, control, traffic: Traffic, value: str, *steps: float):
    """The verdict on ``value``, rolled out by ``steps`` of eight looks."""
    plan = Plan(FLAG, value, steps, looks=8, seconds=5, live=300)
    services = [name for name in stack.internal_urls() if name.startswith("users")]
    return Canary(control, services, plan, traffic.look, lambda line: None).walk()


def test_users_version_decides_which_version_answers(control, client):
    """ "users.version": the header says which; v2_wrong alone answers a wrong name; reset, it is the first again."""
    right = client.get("/api/users/7").json
    for value, name in (("v2", right["name"]), ("v2_wrong", right["email"]), (None, right["name"])):
        control.set_flags({FLAG: value})
        reply = client.get("/api/users/7")
        assert reply.headers["X-Costlab-Version"] == (value or "v1")
        assert reply.json == right | {"name": name}


def test_a_rollout_of_a_fifth_gives_the_same_users_the_other_version_each_time(control, client):
    control.roll_out({FLAG: {"value": "v2", "percent": 20, "salt": "effect"}})
    first = drawn(client, "v2")
    assert 15 <= len(first) <= 65  # 40, give or take more than four standard deviations
    assert drawn(client, "v2") == first
    control.roll_out({FLAG: {"value": "v2", "percent": 40, "salt": "effect"}})
    assert drawn(client, "v2") > first
    control.roll_out({FLAG: None})
    assert drawn(client, "v2") == set()


@pytest.mark.parametrize("value", ["v2", None], ids=["set", "reset"])
def test_setting_or_resetting_the_flag_ends_its_rollout(control, client, value):
    control.roll_out({FLAG: {"value": "v2_wrong", "percent": 100}})
    assert version(client, 7) == "v2_wrong"
    control.set_flags({FLAG: value})
    assert version(client, 7) == (value or "v1")
    assert control.rollouts() == {}


def test_a_rollout_ends_by_itself(control, client):
    control.roll_out({FLAG: {"value": "v2", "percent": 100, "seconds": 3}})
    assert version(client, 7) == "v2"
    eventually(lambda: version(client, 7) == "v1")
    assert control.rollouts() == {}


def test_what_cannot_be_rolled_out_is_refused_with_what_can(control):
    with pytest.raises(ControlError, match=r"what can be rolled out: users\.version"):
        control.roll_out({"db.pool": {"value": "none", "percent": 10}})
    with pytest.raises(ControlError, match="allowed: v1, v2"):
        control.roll_out({FLAG: {"value": "v9", "percent": 10}})
    with pytest.raises(ControlError, match="percent: allowed are 0 to 100"):
        control.roll_out({FLAG: {"value": "v2", "percent": 101}})


@pytest.mark.parametrize("value", ["v2_failing", "v2_wrong", "v2_slow"])
def test_a_bad_version_is_rolled_back_and_only_the_canary_has_met_it(stack, control, client, value):
    with Traffic(client) as traffic:
        assert walked(stack, control, traffic, value, 20, 100).word == FAIL
        assert version(client, 7) == "v1"
    assert 10 <= len(traffic.met[value]) <= 65
    assert (control.flags()[FLAG], control.rollouts()) == ("v1", {})


def test_a_good_version_gets_to_everybody(stack, control, client):
    before = total(control, "users", "costlab_rollout_mismatches_total", value="v2")
    with Traffic(client) as traffic:
        # Chance alone makes a step fail about once in a hundred; it does not do so three times.
        assert any(walked(stack, control, traffic, "v2", 25, 100).word == PASS for _ in range(3))
    assert (control.flags()[FLAG], control.rollouts()) == ("v2", {})
    assert total(control, "users", "costlab_rollout_mismatches_total", value="v2") == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "kill_9"])
def test_a_command_that_is_ended_leaves_no_rollout(stack, control, number, tmp_path):
    """Ended by a signal, as by Ctrl-C, it rolls back; after kill -9 the rollout ends when its time is over."""
    command = [*CLI, "rollout", "start", FLAG, "v2", "--judge", "--interval", "1s", "--ttl", "4s"]
    (tmp_path / stack.name).symlink_to(stack.folder)
    environment = os.environ | {"COSTLAB_STATE": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as judging:
        try:
            eventually(lambda: FLAG in control.rollouts(), within=30)
        finally:
            judging.send_signal(number)
    assert judging.returncode in (130, -9)
    eventually(lambda: control.rollouts() == {}, within=10)
    assert control.flags()[FLAG] == "v1"


@pytest.fixture
def costlab(stack, monkeypatch):
    """``costlab("rollout", "status")``: exit code, and what it said, for the stack of the tests."""
    for module in ("rollout", "flags"):
        monkeypatch.setattr(f"costlab.cli.{module}.open_stack", lambda target: stack)

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(application(), arguments)
        return (1, str(done.exception)) if isinstance(done.exception, Failure) else (done.exit_code, done.stdout)

    return run


def test_the_command_starts_grows_shows_promotes_and_aborts(costlab, control, client):
    assert costlab("rollout", "start", FLAG, "v2", "--percent", "20")[0] == 0
    few = drawn(client, "v2")
    assert costlab("rollout", "start", FLAG, "v2", "--percent", "60", "--ttl", "1m") == (
        0,
        "60 % of the users get users.version = v2 for 1m, in every process\n",
    )
    assert few < drawn(client, "v2")
    (shown,) = json.loads(costlab("rollout", "status", "--json")[1])
    assert (shown["flag"], shown["value"], shown["percent"]) == (FLAG, "v2", 60)
    assert 0 < shown["seconds_left"] <= 60
    assert "users.version = v2 for 60 % of the users" in costlab("rollout", "status")[1]
    (row,) = [row for row in json.loads(costlab("flags", "list", "--json")[1]) if row["name"] == FLAG]
    assert (row["value"], row["rollout"]["value"]) == ("v1", "v2")

    assert costlab("rollout", "promote", FLAG) == (0, "users.version = v2 for everybody\n")
    assert (control.flags()[FLAG], control.rollouts()) == ("v2", {})
    assert costlab("rollout", "start", FLAG, "v1")[0] == 0
    assert costlab("rollout", "abort") == (0, "ended: users.version\n")
    assert costlab("rollout", "abort") == (0, "nothing was being rolled out\n")
    assert control.flags()[FLAG] == "v2"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("start", "db.pool", "none"), "what can be rolled out: users.version"),
        (("start", "users.versoin", "v2"), "there is no flag"),
        (("start", FLAG, "v9"), "allowed: v1, v2"),
        (("start", FLAG, "v1"), "is v1 for everybody already"),
        (("start", FLAG, "v2", "--ttl", "soon"), "is no duration"),
        (("start", FLAG, "v2", "--ttl", "2h"), "1 to 3600"),
        (("start", FLAG, "v2", "--judge", "--percent", "5"), "--judge goes by --steps"),
        (("start", FLAG, "v2", "--judge", "--steps", "5,1,100"), "percentages that rise to 100"),
        (("start", FLAG, "v2", "--judge", "--steps", "100"), "percentages that rise to 100"),
        (("start", FLAG, "v2", "--judge", "--steps", "nan,100"), "percentages that rise to 100"),
        (("start", FLAG, "v2", "--judge", "--ttl", "10s"), "at least 3 times --interval"),
        (("promote", FLAG), "is not being rolled out"),
    ],
)
def test_a_command_that_cannot_be_is_refused_with_what_can(costlab, control, arguments, reason):
    code, said = costlab("rollout", *arguments)
    assert (code, control.rollouts()) == (1, {})
    assert reason in said


def test_another_value_is_not_rolled_out_over_one_that_is(costlab, control):
    assert costlab("rollout", "start", FLAG, "v2")[0] == 0
    code, said = costlab("rollout", "start", FLAG, "v2_slow")
    assert code == 1
    assert "promote or abort that first" in said
    assert control.rollouts()[FLAG]["value"] == "v2"
