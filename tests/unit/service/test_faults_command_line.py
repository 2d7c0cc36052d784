"""``costlab chaos add``: every word counts, or is refused in one line that says what is allowed."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from costlab.cli import application
from costlab.service.faults import Record, Registry, Wish


@pytest.fixture
def add(monkeypatch):
    """``add("latency", "--on", "users")`` on a stack that makes whatever is allowed; ``add.wishes`` are those."""
    wishes: list[Wish] = []

    class AnyStack:
        def __init__(self, stack: object) -> None:
            pass

        def add(self, document: dict[str, object]) -> Record:
            wish = Registry.load().wish(document)
            wishes.append(wish)
            return Record.of(wish if Registry.load()[wish.fault].lasts else replace(wish, ttl=0), 0.0)

    monkeypatch.setattr("costlab.cli.chaos.Chaos", AnyStack)
    monkeypatch.setattr("costlab.cli.chaos.open_stack", lambda target: None)

    def run(*words: str):
        return CliRunner().invoke(application(), ["chaos", "add", *words])

    run.wishes = wishes
    return run


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["kill", "--for", "10m"], "kill takes no --for: it is over once it is done"),
        (["terminate", "--for", "10m"], "terminate takes no --for"),
        (["restart", "--for", "10m"], "restart takes no --for"),
        (["latency", "ms=200", "ms=900"], "ms is given twice, '200' and '900'; allowed: once"),
        (["latency", "--edge", ""], "--edge is empty; allowed: what the service calls, such as postgres"),
        (["latency", "--route", ""], "--route is empty; allowed: a route such as /users/{id}"),
        (["latency", "--rate", ""], "rate cannot be ''; allowed: 0 to 1"),
        (["latency", "--seed", ""], "seed cannot be ''; allowed: 0 to"),
        (["latency", "--for", ""], "'' is no duration; allowed: 500ms, 30s"),
        (["cpu_burn", "--seed", "7"], "cpu_burn takes no seed: nothing about it is left to chance"),
        (["kill", "--seed", "0"], "kill takes no seed"),
    ],
)
def test_a_word_that_would_mean_nothing_is_refused(add, words, says):
    refused = str(add(*words, "--on", "users").exception)
    assert says in refused
    assert "\n" not in refused
    assert add.wishes == []


def test_what_is_left_out_has_its_default(add):
    assert "in force: " in add("latency", "--on", "users").output
    [wish] = add.wishes
    assert (wish.edge, wish.route, wish.rate, wish.ttl, wish.parameters) == ("", "", 1, 60, {"ms": 200})


def test_a_fault_that_is_over_at_once_is_said_to_be_done(add):
    assert add("kill", "--on", "users").output == "done: kill on users\n"
