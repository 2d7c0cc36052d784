"""Every day in turn: a failing one does not stop the rest, and verdicts are corrected for being several."""

import io

import pytest
from rich.console import Console

from costlab.cli.run_all import run_all
from costlab.lab.catalogue import Day
from costlab.lab.conclusion import conclude
from costlab.lab.errors import Interrupted, LabError
from costlab.lab.experiment import Primary
from costlab.lab.together import Outcome, summary
from tests.unit.lab import synthetic


def outcome(day, rounds, metric="p50_ms"):
    """A day on which the variant takes 30 % less, in ``rounds`` rounds that differ a little."""
    primary = Primary(metric=metric, variant="ttl", direction="lower", smallest_effect=0.05)
    declared = synthetic.day_11().model_copy(update={"primary": primary})
    blocks = synthetic.rounds(rounds, ttl={"milliseconds": lambda i: 7.0 + 0.02 * i, "queries": lambda i: 700})
    made = synthetic.result(blocks, conclude(declared, blocks, 7, quick=False, floors={}), quick=False)
    return Outcome(day, made.model_copy(update={"experiment": declared}))


def test_one_confirmed_day_stays_confirmed():
    [line] = summary([outcome("a", 10)])
    assert (line.verdict, line.p) == ("CONFIRMED", pytest.approx(2 / 2**10))


def test_the_more_days_are_tested_the_more_each_has_to_show():
    lines = summary([outcome(name, 7) for name in "abcd"])
    assert [line.p for line in lines] == [pytest.approx(4 * 2 / 2**7)] * 4
    assert {line.verdict for line in lines} == {"INCONCLUSIVE (CONFIRMED alone; p 0.062 among 4 tested)"}


def test_rounds_too_few_to_be_tested_are_said_to_be_and_do_not_count_among_the_tested():
    lines = summary([outcome("a", 4), outcome("b", 6)])
    assert lines[0].verdict == "CONFIRMED alone (4 rounds are too few to be tested)"
    assert [line.p for line in lines] == [None, pytest.approx(2 / 2**6)]
    assert lines[1].verdict == "CONFIRMED"


def test_counted_metrics_are_not_tested_and_do_not_count_among_the_tested():
    lines = summary([outcome("a", 10), outcome("b", 2, "db_queries_per_request")])
    assert [(line.verdict, line.p is None) for line in lines] == [("CONFIRMED", False), ("CONFIRMED", True)]
    assert lines[0].p == pytest.approx(2 / 2**10)


def test_a_failed_day_has_a_line_too():
    lines = summary([Outcome("a", failure="no stack"), outcome("b", 10)])
    assert [line.verdict for line in lines] == ["FAILED", "CONFIRMED"]


def days(*names):
    return [Day(i, name, None) for i, name in enumerate(names)]


def run(names, run_one):
    console = Console(file=io.StringIO(), width=200)
    try:
        return run_all(days(*names), run_one, console), console.file.getvalue()
    except Interrupted:
        return None, console.file.getvalue()


def test_a_day_that_fails_does_not_stop_the_rest_and_the_whole_has_failed():
    def run_one(day):
        if day.slug == "bad":
            raise LabError("the gateway is gone")
        return outcome(day.slug, 10).result

    well, said = run(["first", "bad", "last"], run_one)
    assert not well
    assert said.count("bad failed: the gateway is gone") == 2  # when it happens, and at the end
    assert said.count("CONFIRMED") == 2
    assert run(["first", "last"], run_one)[0]


def test_an_interruption_ends_all_of_it_and_what_there_is_is_shown():
    def run_one(day):
        if day.slug == "second":
            raise Interrupted("interrupted")
        return outcome(day.slug, 10).result

    well, said = run(["first", "second", "third"], run_one)
    assert well is None
    assert said.count("CONFIRMED") == 1
    assert "third" not in said
