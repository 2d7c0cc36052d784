"""The tracker, and its place in the README."""

import json

import pytest

from costlab.cli import results
from costlab.lab import catalogue, generated, lesson, result, tracker, words
from costlab.lab.conclusion import conclude
from costlab.lab.errors import LabError
from tests.unit.lab import synthetic
from tests.unit.lab.test_cli import costlab  # noqa: F401 - a fixture

DAY = catalogue.find("11")
MARKS = "<!-- days: `costlab days --write` -->\nold\n<!-- /days -->"


@pytest.fixture
def put(tmp_path):
    """put(name, ...): a result of day 11 in a folder of results."""

    def write(name, quick=True, status="complete", queries=700, started="2026-01-02T03:04:05Z", rounds=10):
        blocks = synthetic.rounds(3, ttl={"queries": queries})
        made = synthetic.result(blocks, conclude(synthetic.day_11(), blocks, 7, quick), status, quick)
        form = made.form.model_copy(update={"count": rounds})
        result.save(made.model_copy(update={"started": started, "form": form}), tmp_path / "runs" / DAY.slug / name)

    return write


def line(tmp_path, **more):
    return next(line for line in tracker.lines(tmp_path / "runs", **more) if line.day == DAY.slug)


def test_a_day_nobody_has_measured_says_so(tmp_path):
    assert line(tmp_path).status == tracker.NOT_MEASURED


def test_a_line_holds_topic_verdict_impact_with_interval_bill_and_commit(put, tmp_path):
    put("a.json")
    found = line(tmp_path)
    assert (found.topic, found.status, found.p, found.commit) == ("Caching", "CONFIRMED (quick)", "counted", "c0ffee")
    assert found.impact == "database queries/request -30.0 % (-30.0 to -30.0 %)"
    assert found.bill.startswith("+")
    assert " to +" in found.bill


def test_a_full_result_goes_before_a_quick_one_and_a_newer_one_before_an_older(put, tmp_path):
    put("1.json", quick=True, started="2026-03-01T00:00:00Z")
    put("2.json", quick=False, started="2026-01-01T00:00:00Z", queries=500)
    assert "-50.0 %" in line(tmp_path).impact
    put("3.json", quick=False, started="2026-02-01T00:00:00Z", queries=400)
    assert "-60.0 %" in line(tmp_path).impact
    assert "quick" not in line(tmp_path).status


def test_a_full_form_cut_short_goes_before_nothing_but_older_ones_and_says_so(put, tmp_path):
    put("1.json", quick=False, rounds=2, started="2026-01-01T00:00:00Z")
    assert line(tmp_path).status == "CONFIRMED (2 of 10 rounds)"
    put("2.json", quick=True, rounds=4, started="2026-02-01T00:00:00Z")
    assert line(tmp_path).status == "CONFIRMED (quick)"


def test_a_run_that_was_interrupted_does_not_count(put, tmp_path):
    put("1.json", status="interrupted")
    assert line(tmp_path).status == tracker.NOT_MEASURED


def test_a_damaged_reference_is_an_error_and_a_damaged_run_is_told_of(put, tmp_path):
    put("1.json")
    (tmp_path / "runs" / DAY.slug / "2.json").write_text("{")
    with pytest.raises(LabError, match=r"2\.json"):
        line(tmp_path)
    told = []
    assert line(tmp_path, damaged=told.append).status == "CONFIRMED (quick)"
    assert len(told) == 1


def test_what_is_generated_goes_between_its_marks_and_nothing_else_changes(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"# a\n{MARKS}\nb\n")
    written = generated.refreshed(file, {"days": "new"})
    assert written == "# a\n<!-- days: `costlab days --write` -->\nnew\n<!-- /days -->\nb\n"
    file.write_text(written)
    assert generated.refreshed(file, {"days": "new"}) == written


def test_a_document_without_the_marks_or_that_is_not_there_is_one_clear_error(tmp_path):
    file = tmp_path / "README.md"
    with pytest.raises(LabError, match=r"README\.md: cannot be read"):
        generated.refreshed(file, {"days": "new"})
    file.write_text("# a\n")
    with pytest.raises(LabError, match=r"README\.md has no place for its days"):
        generated.refreshed(file, {"days": "new"})


def test_every_cell_stays_in_its_cell(put, tmp_path):
    put("1.json")
    rows = tracker.markdown(tracker.lines(tmp_path / "runs"), root=tmp_path).splitlines()
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1


def test_days_prints_the_reference_results_and_with_mine_those_that_ran_here(put, tmp_path, costlab):  # noqa: F811
    put("20260102T030405Z.json", queries=123)
    mine = json.loads(costlab("days", "--mine", "--json").stdout)
    assert "-87.7 %" in next(row["impact"] for row in mine if row["day"] == DAY.slug)
    assert "-87.7 %" not in costlab("days").stdout


def test_days_write_refreshes_readme_and_lessons(put, tmp_path, costlab, monkeypatch):  # noqa: F811
    monkeypatch.setattr(results, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text(f"{MARKS}\n{MARKS.replace('days:', 'noise:').replace('/days', '/noise')}\n")
    for day in catalogue.days():
        lesson = tmp_path / "experiments" / day.slug / "README.md"
        lesson.parent.mkdir(parents=True)
        lesson.write_text(MARKS.replace("days: ", "outcome: ").replace("/days", "/outcome"))
    assert costlab("days", "--write").exit_code == 0
    assert tracker.markdown(tracker.lines()) in (tmp_path / "README.md").read_text()
    assert "CONFIRMED" in (tmp_path / "experiments" / DAY.slug / "README.md").read_text()
    assert costlab("days", "--write", "--mine").exit_code == 2


def test_a_lesson_says_verdict_prediction_every_figure_with_its_interval_bill_and_caveats(put, tmp_path):
    put("1.json")
    said = lesson.outcome(line(tmp_path), tmp_path / "experiments" / DAY.slug)
    assert "**CONFIRMED (quick)**: with `ttl` database queries/request is lower." in said
    assert "Predicted -17.0 %, measured -30.0 %" in said
    stored = result.load(line(tmp_path).result)
    for metric in stored.experiment.metrics():
        assert f"| {words.title(metric)} |" in said
    assert "| USD a month |" in said
    assert all(f"- {caveat}." in said for caveat in stored.conclusion.caveats)
    assert f"(../../runs/{DAY.slug}/1.json)" in said


def test_a_lesson_of_a_day_that_nobody_has_measured_says_so(tmp_path):
    assert lesson.outcome(line(tmp_path), tmp_path) == lesson.NOT_YET


def test_of_stored_aa_runs_those_are_counted_that_found_a_difference_either_way(tmp_path, monkeypatch):
    monkeypatch.setattr(tracker, "REFERENCE", tmp_path / "benchmarks")
    folder = tmp_path / "benchmarks" / "noise"
    assert tracker.twins(folder) == "No A/A run is stored."
    for number, queries in enumerate((1000, 1010, 500, 2000)):
        blocks = synthetic.rounds(3, ttl={"queries": queries})
        made = synthetic.result(blocks, conclude(synthetic.day_11(), blocks, 7, quick=False), quick=False)
        result.save(made.model_copy(update={"twins": True}), folder / DAY.slug / f"{number}.json")
    assert tracker.twins(folder) == (
        "Of 4 A/A runs on a real stack, a day's baseline against itself, 2 found a difference that the day would call "
        "one, 2 showed that there is none and 0 could not tell; in 4 the figure is counted, so chance has no part in "
        "it: [all of them](benchmarks/noise)."
    )
