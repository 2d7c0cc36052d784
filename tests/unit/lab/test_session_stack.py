"""Which stack a run takes: a whole one as it is, a partial one once the rest is up, its own if there is none."""

import pytest
import typer
from typer.testing import CliRunner

from costlab.cli import run
from costlab.lab.errors import LabError
from costlab.stack import ServiceStatus

NAMES = ("gateway", "users", "prometheus")


class Stack:
    """A stack of which some services are healthy; ``calls`` is what was asked of it."""

    name = "local"

    def __init__(self, folder, healthy):
        self.folder, self.healthy, self.calls = folder, set(healthy), []

    def status(self):
        return [ServiceStatus(name, "-", name in self.healthy, 1, 1, 1, 0.0, 0, 1) for name in NAMES]

    def up(self, report):
        self.calls.append("up")
        self.healthy = set(NAMES)

    def down(self):
        self.calls.append("down")


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """asked(healthy services, options): what a run asked of the stack; what it said if it was refused."""

    def ask(healthy, *options):
        stack = Stack(tmp_path, healthy)
        monkeypatch.setattr(run, "open_stack", lambda target: stack)
        monkeypatch.setattr(run, "_run_and_show", lambda *_, **__: stack.calls.append("run"))
        app = typer.Typer(pretty_exceptions_enable=False)
        app.command()(run.run)
        outcome = CliRunner().invoke(app, ["11", "--quick", *options])
        if isinstance(outcome.exception, LabError):
            return str(outcome.exception)
        assert outcome.exit_code == 0
        return stack.calls

    return ask


@pytest.mark.parametrize(
    ("healthy", "calls"),
    [
        (NAMES, ["run"]),
        (("gateway", "users"), ["run"]),
        (("gateway", "prometheus"), ["up", "run"]),
        ((), ["up", "run", "down"]),
    ],
    ids=["whole", "whole but for what it is seen with", "a service was left stopped", "none"],
)
def test_what_is_missing_is_started_and_only_a_stack_of_its_own_is_stopped(asked, healthy, calls):
    assert asked(healthy, "--up") == calls


def test_a_stack_of_its_own_may_be_kept(asked):
    assert asked((), "--up", "--keep") == ["up", "run"]


def test_without_up_a_run_takes_a_whole_stack_and_says_what_is_missing_of_another(asked):
    assert asked(NAMES) == ["run"]
    assert asked(()).startswith("no local stack is up: start one (costlab up --target local), or add --up")
    assert asked(("gateway",)) == (
        "the local stack is only partly up, users is not ready: costlab up --target local, or add --up"
    )
