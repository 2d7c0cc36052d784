"""The commands that need no stack: report, price; and run where no stack is up."""

import json

import pytest
import typer
from typer.testing import CliRunner

from costlab.cli import lab, main
from costlab.cli.options import Misused
from costlab.lab import price_sheet, result
from costlab.lab.conclusion import conclude
from costlab.lab.errors import LabError
from tests.unit.lab import synthetic


@pytest.fixture
def costlab(monkeypatch, tmp_path):
    monkeypatch.setattr(result, "RUNS", tmp_path / "runs")
    monkeypatch.setenv("COSTLAB_STATE", str(tmp_path / "state"))
    app = typer.Typer(pretty_exceptions_enable=False)
    lab.register(app)

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def stored(tmp_path):
    blocks = synthetic.rounds(3, ttl={"queries": 700})
    path = tmp_path / "runs" / "11-caching" / "20260102T030405Z.json"
    result.save(synthetic.result(blocks, conclude(synthetic.day_11(), blocks, 7, quick=True)), path)
    return path


def test_a_report_is_rebuilt_beside_its_result(costlab, stored):
    assert costlab("report", stored).exit_code == 0
    first = stored.with_suffix(".html").read_bytes()
    assert costlab("report", stored).exit_code == 0
    assert stored.with_suffix(".html").read_bytes() == first


def test_a_report_never_overwrites_its_result(costlab, stored):
    outcome = costlab("report", stored, "--output", stored)
    assert isinstance(outcome.exception, LabError)
    assert result.load(stored)


def test_a_picture_overwrites_neither_its_result_nor_the_report(costlab, stored):
    for place in (stored, stored.with_suffix(".html")):
        outcome = costlab("report", stored, "--picture", place)
        assert isinstance(outcome.exception, LabError)
        assert "--picture needs another place" in str(outcome.exception)
    assert result.load(stored)


def test_a_picture_goes_where_it_is_asked_for_or_says_why_not(costlab, stored, tmp_path):
    assert costlab("report", stored, "--picture", tmp_path / "new" / "run.svg").exit_code == 0
    assert (tmp_path / "new" / "run.svg").read_text().startswith("<svg")
    outcome = costlab("report", stored, "--picture", stored / "run.svg")
    assert isinstance(outcome.exception, LabError)
    assert "run.svg: cannot be written" in str(outcome.exception)


def test_a_price_follows_the_sheet_and_the_traffic_asked_for(costlab, stored):
    plain = json.loads(costlab("price", stored, "--json").stdout)
    other = json.loads(costlab("price", stored, "--sheet", "gcp", "--requests-per-user", "50", "--json").stdout)
    assert (plain["sheet_name"], other["sheet_name"]) == ("aws-fargate", "gcp")
    assert other["assumptions"]["requests_per_user"] == 50
    assert other["variants"]["off"]["usd"] < plain["variants"]["off"]["usd"]


def test_the_stored_bill_is_the_bill_of_the_same_sheet(costlab, stored):
    again = json.loads(costlab("price", stored, "--json").stdout)
    assert again == json.loads(result.load(stored).conclusion.bill.model_dump_json())


def test_an_unknown_sheet_is_one_clear_error(costlab, stored):
    for path in (stored, "nowhere.json"):
        outcome = costlab("price", path, "--sheet", "azure")
        assert isinstance(outcome.exception, Misused)
        assert "there is no price sheet 'azure'; there are: " in str(outcome.exception)


def test_a_damaged_sheet_is_no_fault_of_the_command_line(costlab, stored, monkeypatch):
    def damaged(name):
        raise LabError(f"{name}.toml: rows.logs_gb is missing")

    monkeypatch.setattr(price_sheet, "load_sheet", damaged)
    outcome = costlab("price", stored, "--sheet", "gcp")
    assert isinstance(outcome.exception, LabError)
    assert str(outcome.exception) == "gcp.toml: rows.logs_gb is missing"


def test_run_without_a_stack_says_how_to_get_one(costlab):
    outcome = costlab("run", "11", "--quick")
    assert "no local stack is up" in str(outcome.exception)


@pytest.mark.parametrize("arguments", [("run", "99"), ("report", "nowhere.json"), ("price", "nowhere.json")])
def test_what_does_not_exist_is_one_clear_error(costlab, arguments):
    outcome = costlab(*arguments)
    assert isinstance(outcome.exception, LabError)
    assert "\n" not in str(outcome.exception)


@pytest.mark.parametrize("arguments", [("run", "11", "--rounds", "0"), ("run", "11", "--seed", "-1"), ("run",)])
def test_a_wrong_command_line_ends_with_2(costlab, arguments):
    assert costlab(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "cache.tll=60"), "--set: there is no flag 'cache.tll'"),
        (("--set", "cache.ttl=0"), "--set: cache.ttl cannot be '0'; allowed: 0.1 to 3600"),
        (("--set", "cache.ttl"), "--set: 'cache.ttl' is not NAME=VALUE, for instance"),
        (("--set", "cache.ttl=1", "--set", "cache.ttl=2"), "--set: cache.ttl is given twice, '1' and '2'"),
        (("--generator", "wrk"), "--generator is 'wrk'; allowed: auto, k6, k6-docker, open-model"),
        (("--resume", "--quick", "--seed", "4"), "a run is resumed as it was begun: leave out --quick, --seed"),
        (("nowhere.json",), "nowhere.json: a result is only named to go on with it (--resume)"),
    ],
)
def test_a_run_that_is_asked_for_in_wrong_words_ends_with_2_and_says_which(costlab, arguments, message):
    outcome = costlab("run", "11", *arguments)
    assert isinstance(outcome.exception, Misused)
    assert outcome.exception.exit_code == 2
    assert message in str(outcome.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resume",), "is left unfinished"),
        (("nowhere.json", "--resume"), "no result can be read there"),
    ],
)
def test_what_cannot_be_resumed_is_one_clear_error(costlab, arguments, message):
    outcome = costlab("run", "11", *arguments)
    assert isinstance(outcome.exception, LabError)
    assert message in str(outcome.exception)


def test_the_process_ends_with_the_exit_code_and_one_line(monkeypatch, capsys):
    for arguments, code in ((["run", "11", "--generator", "wrk"], 2), (["report", "nowhere.json"], 1)):
        monkeypatch.setattr("sys.argv", ["costlab", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("costlab: ")


@pytest.mark.parametrize("path", [".", "/", "", ".."])
def test_a_report_of_what_is_no_file_is_one_clear_error(costlab, path):
    outcome = costlab("report", path)
    assert isinstance(outcome.exception, LabError)
    assert "no result can be read there" in str(outcome.exception)
    assert "\n" not in str(outcome.exception)


def test_a_damaged_newest_run_does_not_hide_the_unfinished_one_before_it(costlab, stored):
    unfinished, damaged = (stored.with_name(f"20260{month}02T000000Z.json") for month in (2, 3))
    result.save(synthetic.result(synthetic.rounds(1), status="interrupted"), unfinished)
    damaged.write_text("{")
    outcome = costlab("run", "11", "--resume")
    assert "no local stack is up" in str(outcome.exception)
    assert outcome.stderr.startswith(f"costlab: skipped {damaged}: not a whole result")


def test_where_only_damaged_runs_are_left_none_is_unfinished(costlab, stored):
    stored.write_text("{")
    outcome = costlab("run", "11", "--resume")
    assert "is left unfinished" in str(outcome.exception)
    assert f"skipped {stored}" in outcome.stderr


def test_the_latest_unfinished_run_is_found_and_a_complete_one_is_not_resumed(costlab, stored):
    assert "is left unfinished" in str(costlab("run", "11", "--resume").exception)
    unfinished = stored.with_name("20260202T000000Z.json")
    result.save(synthetic.result(synthetic.rounds(1), status="running"), unfinished)
    assert "no local stack is up" in str(costlab("run", "11", "--resume").exception)
    assert "no local stack is up" in str(costlab("run", unfinished, "--resume").exception)
    assert "not of day 11" not in str(costlab("run", "11", unfinished, "--resume").exception)


def test_a_noise_run_that_was_interrupted_is_found_too(costlab, stored):
    path = stored.parents[1] / "noise" / stored.parent.name / stored.name
    result.save(synthetic.result(synthetic.rounds(1), status="interrupted"), path)
    assert "no local stack is up" in str(costlab("run", "11", "--resume").exception)
