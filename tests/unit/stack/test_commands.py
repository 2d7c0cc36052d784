"""``costlab up|down|status|logs`` where no stack runs."""

import json

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from costlab.cli import FILES, application
from costlab.cli.options import Misused, assignments
from costlab.stack import NotUp, StackError


@pytest.fixture(autouse=True)
def _own_state(monkeypatch, tmp_path):
    monkeypatch.setenv("COSTLAB_STATE", str(tmp_path))


def run(*arguments):
    return CliRunner().invoke(application(), arguments)


@pytest.mark.parametrize("command", ["up", "down", "status", "logs", "doctor", "top", "trace"])
def test_every_command_has_help(command):
    assert run(command, "--help").exit_code == 0


def test_of_a_command_only_its_file_is_loaded_and_every_command_has_one():
    """The table that says which file to load is what the files register."""
    for file, commands in FILES.items():
        for command in commands:
            assert list(get_command(application(command)).commands) == list(commands), (file, command)
    assert sorted(get_command(application()).commands) == sorted(sum(FILES.values(), ()))


def test_a_fault_may_not_last_longer_than_an_hour():
    done = run("chaos", "add", "latency", "--on", "users", "--for", "2h")
    assert str(done.exception) == "--for cannot be 2h; allowed: 1s to 1h"


def test_status_of_nothing_is_exit_code_3_and_still_names_every_service():
    done = run("status", "--json")
    assert done.exit_code == 3
    services = json.loads(done.stdout)
    assert {"gateway", "users", "orders", "cache-proxy", "worker", "postgres", "redis"} < {s["name"] for s in services}
    assert {service["state"] for service in services} == {"stopped"}


def test_down_of_nothing_is_no_error_and_makes_no_folder(tmp_path):
    assert run("down").exit_code == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("COSTLAB_PORT_BASE", "abc", "COSTLAB_PORT_BASE is 'abc'; it must be a port number from 6200 to 50000"),
        ("COSTLAB_GATEWAY_PORT", "x", "is not 127.0.0.1:<port from 1 to 65535>:<port>"),
        ("COSTLAB_DB_PASSWORD", "a/b", "COSTLAB_DB_PASSWORD becomes part of URLs"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch, tmp_path, variable, value, message):
    monkeypatch.setenv(variable, value)
    done = run("up")
    assert isinstance(done.exception, StackError)
    assert message in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_logs_of_a_stack_that_was_never_up_say_so():
    done = run("logs")
    assert isinstance(done.exception, StackError)
    assert "the stack was never up (costlab up)" in str(done.exception)


def test_a_target_that_does_not_exist_is_refused_with_those_that_do():
    refused = str(run("up", "--target", "moon").exception)
    assert refused == "no target 'moon'; there are local, compose and the URL of a gateway that runs"


def test_a_url_where_no_stack_of_ours_runs_is_refused_with_exit_code_3():
    done = run("run", "11", "--target", "http://127.0.0.1:1")
    assert isinstance(done.exception, NotUp)
    assert str(done.exception).startswith("no stack of this project has its gateway at http://127.0.0.1:1")


def test_an_assignment_is_given_once_at_the_command_line():
    assert assignments(["cache.ttl=5", "a=b=c"], "x=1") == {"cache.ttl": "5", "a": "b=c"}
    with pytest.raises(Misused, match=r"cache\.ttl is given twice, '5' and '9'; allowed: once"):
        assignments(["cache.ttl=5", "cache.strategy=ttl", "cache.ttl=9"], "x=1")
    with pytest.raises(Misused, match=r"'cache\.ttl' is not NAME=VALUE, for instance x=1"):
        assignments(["cache.ttl"], "x=1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("flags", "set", "cache.tll=5"), "there is no flag 'cache.tll'; there are: "),
        (("flags", "set", "cache.ttl=0"), "cache.ttl cannot be '0'; allowed: 0.1 to 3600"),
        (("flags", "set", "cache.ttl"), "'cache.ttl' is not NAME=VALUE, for instance "),
        (("top", "--sheet", "azure"), "there is no price sheet 'azure'; there are: "),
    ],
)
def test_a_word_that_means_nothing_ends_with_2_whether_or_not_a_stack_runs(arguments, message):
    refused = run(*arguments).exception
    assert isinstance(refused, Misused)
    assert refused.exit_code == 2
    assert str(refused).startswith(message)


@pytest.mark.parametrize("arguments", [("top",), ("top", "--once", "--json"), ("trace", "4bf92f3577b34da6")])
def test_what_looks_at_a_running_stack_says_that_none_runs_with_exit_code_3(arguments):
    done = run(*arguments)
    assert isinstance(done.exception, NotUp)
    assert done.exception.exit_code == 3
    assert str(done.exception) == "no local stack runs: costlab up starts one"


def test_top_prints_json_only_once():
    done = run("top", "--json")
    assert done.exit_code == 2
    assert "--once" in done.output
