"""`costlab run all --resume`: what is complete stays, what is unfinished goes on, the rest is run as was asked."""

import pytest
import typer
from typer.testing import CliRunner

from costlab.cli import run, run_all
from costlab.cli.options import Misused
from costlab.lab import catalogue, noise, result
from costlab.lab.errors import Interrupted, LabError
from costlab.lab.session import Wish
from tests.unit.lab import synthetic
from tests.unit.lab.test_session_stack import NAMES, Stack

FIRST, SECOND, THIRD = catalogue.days()[:3]


@pytest.fixture
def costlab(tmp_path, monkeypatch):
    """costlab(arguments): the outcome of `costlab run`; what was done stands in ``done``, the second day ends early."""
    done, stack = [], Stack(tmp_path, NAMES)
    synthetic.day_11()  # read while all days are there

    def save(day, status, wish):
        made = synthetic.result(synthetic.rounds(1), status=status)
        form = made.experiment.form(wish.quick)
        form = form if wish.rounds is None else form.model_copy(update={"count": wish.rounds})
        as_wished = {"quick": wish.quick, "form": form, "given_flags": dict(wish.flags), "generator": wish.generator}
        seed = made.seed if wish.seed is None else wish.seed
        made = made.model_copy(update={"day": day.slug, "started": result.now(), "seed": seed} | as_wished)
        result.save(made, result.path_for(day, made.started, result.RUNS))
        return made

    def begin(day, wish, *_):
        done.append((day.slug, wish))
        if day == SECOND and len(done) == 2:
            save(day, "interrupted", wish)
            raise Interrupted("interrupted")
        return save(day, "complete", wish)

    def go_on(day, path, *_):
        done.append((day.slug, path))
        return result.load(path).model_copy(update={"status": "complete"})

    monkeypatch.setattr(result, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(run, "open_stack", lambda target: stack)
    monkeypatch.setattr(run, "_run_and_show", begin)
    monkeypatch.setattr(run, "_resume_and_show", go_on)
    monkeypatch.setattr(catalogue, "days", lambda *_: [FIRST, SECOND, THIRD])
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(run.run)

    def invoke(*arguments):
        return CliRunner().invoke(app, list(arguments))

    invoke.done = done
    return invoke


def test_it_goes_on_where_it_ended_with_what_it_was_asked_for(costlab):
    wish = Wish(quick=True, rounds=2, seed=3, flags={"cache.ttl": 60.0})
    asked = ("--quick", "--rounds", "2", "--seed", "3", "--set", "cache.ttl=60")
    assert isinstance(costlab("all", *asked).exception, Interrupted)
    assert costlab.done == [(FIRST.slug, wish), (SECOND.slug, wish)]
    costlab.done.clear()
    outcome = costlab("all", "--resume")
    [unfinished] = (result.RUNS / SECOND.slug).glob("*.json")
    assert costlab.done == [(SECOND.slug, unfinished), (THIRD.slug, wish)]
    assert "complete already" in outcome.stdout
    assert outcome.exit_code == 0


def test_one_that_came_to_its_end_has_nothing_to_go_on_with(costlab):
    costlab("all", "--quick")
    assert costlab("all", "--resume").exit_code == 0
    outcome = costlab("all", "--resume")
    assert isinstance(outcome.exception, LabError)
    assert "no `costlab run all` is left unfinished" in str(outcome.exception)


OTHER_COUNT = synthetic.day_11().quick.model_copy(update={"count": 1})


@pytest.mark.parametrize(
    ("options", "otherwise"),
    [
        (("--set", "cache.ttl=60"), {"given_flags": {}}),
        ((), {"quick": False}),
        ((), {"form": OTHER_COUNT}),
        (("--rounds", "2"), {"form": OTHER_COUNT}),
        ((), {"generator": "open-model"}),
        (("--seed", "0"), {"seed": 1}),
    ],
    ids=["flags", "form", "rounds, of the day", "rounds, as asked", "generator", "seed"],
)
def test_a_day_that_was_run_otherwise_in_between_is_not_taken_for_it(costlab, options, otherwise):
    costlab("all", "--quick", *options)
    [path] = (result.RUNS / FIRST.slug).glob("*.json")
    result.save(result.load(path).model_copy(update=otherwise), path)
    costlab.done.clear()
    costlab("all", "--resume")
    assert [slug for slug, _ in costlab.done] == [FIRST.slug, SECOND.slug, THIRD.slug]


def test_a_noise_run_has_the_rounds_of_one(costlab):
    declared = synthetic.day_11()
    asked = run_all.Asked.now(Wish(), only_noise=True)
    made = synthetic.result([], status="interrupted", quick=False).model_copy(update={"started": asked.started})
    path = result.path_for(FIRST, made.started, result.RUNS / noise.FOLDER)
    for form, found in ((noise.form(declared.rounds), path), (declared.rounds, None)):
        result.save(made.model_copy(update={"form": form}), path)
        assert asked.latest(FIRST, result.RUNS) == found


DAMAGED = "{"


def test_a_damaged_result_of_long_ago_keeps_no_day_from_being_run(costlab):
    old = result.path_for(FIRST, "2020-01-02T03:04:05Z", result.RUNS)
    result.write_whole(old, DAMAGED)
    outcome = costlab("all", "--quick")
    assert [slug for slug, _ in costlab.done] == [FIRST.slug, SECOND.slug]
    assert str(old) not in outcome.output


def test_results_from_before_it_began_are_not_read(costlab, monkeypatch):
    asked = run_all.Asked.now(Wish(), only_noise=False)
    result.write_whole(result.path_for(FIRST, "2020-01-02T03:04:05Z", result.RUNS), DAMAGED)
    monkeypatch.setattr(result, "load", lambda path: pytest.fail(f"{path} is read"))
    assert asked.latest(FIRST, result.RUNS) is None


def test_a_damaged_result_of_its_own_is_skipped_and_the_one_before_it_taken(costlab):
    costlab("all", "--quick")
    damaged = result.path_for(FIRST, "2100-01-02T03:04:05Z", result.RUNS)
    result.write_whole(damaged, DAMAGED)
    costlab.done.clear()
    outcome = costlab("all", "--resume")
    assert FIRST.slug not in [slug for slug, _ in costlab.done]
    assert outcome.stderr.startswith(f"costlab: skipped {damaged}: not a whole result")
    assert outcome.exit_code == 0


def test_a_day_of_which_only_a_damaged_result_is_left_is_run(costlab):
    costlab("all", "--quick")
    [path] = (result.RUNS / FIRST.slug).glob("*.json")
    result.write_whole(path, DAMAGED)
    costlab.done.clear()
    assert costlab("all", "--resume").exit_code == 0
    assert FIRST.slug in [slug for slug, _ in costlab.done]


def test_what_it_is_resumed_with_was_said_when_it_began(costlab):
    for day, option in (("all", ("--quick",)), ("all", ("--seed", "0")), (FIRST.slug, ("--seed", "0"))):
        refused = costlab(day, "--resume", *option).exception
        assert isinstance(refused, Misused)
        assert f"leave out {option[0]}" in str(refused)
    refused = costlab("all", "some.json", "--resume").exception
    assert isinstance(refused, Misused)
    assert "leave out RESULT" in str(refused)
