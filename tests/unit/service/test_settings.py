"""A wrong setting stops the process with one line that names the variable and what it accepts."""

import pytest

from costlab.service.settings import HttpUrls, PostgresUrl, ServiceSettings, load


class Settings(ServiceSettings):
    database_url: PostgresUrl
    users_url: HttpUrls = "http://users:8000"


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setenv("COSTLAB_REDIS_URL", "redis://127.0.0.1:6379/0")
    monkeypatch.setenv("COSTLAB_DATABASE_URL", "postgresql://me:secret@127.0.0.1/db")
    return monkeypatch


def test_good_settings_are_taken(environment):
    environment.setenv("COSTLAB_BIND", "0.0.0.0:8000")
    settings = load(Settings, "users")
    assert settings.bind == "0.0.0.0:8000"
    assert settings.redis_url == "redis://127.0.0.1:6379/0"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("COSTLAB_BIND", "8000", "host:port"),
        ("COSTLAB_INTERNAL_BIND", "127.0.0.1:99999", "port from 1 to 65535"),
        ("COSTLAB_THREADS", "0", "greater than or equal to 1"),
        ("COSTLAB_PROCESSES", "two", "valid integer"),
        ("COSTLAB_REDIS_URL", "http://x", "redis"),
        ("COSTLAB_DATABASE_URL", "mysql://x/y", "postgresql"),
        ("COSTLAB_USERS_URL", "users:8000", "one URL, or several with commas"),
        ("COSTLAB_USERS_URL", "http://a:1,ftp://b:2", "one URL, or several with commas"),
        ("COSTLAB_USERS_URL", "http://a:1,", "one URL, or several with commas"),
        ("COSTLAB_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_a_wrong_one_ends_the_process_with_one_line(environment, capsys, variable, value, says):
    environment.setenv(variable, value)
    with pytest.raises(SystemExit) as stopped:
        load(Settings, "users")
    line = capsys.readouterr().err
    assert stopped.value.code == 4
    assert line.count("\n") == 1
    assert line.startswith("users: cannot start: ")
    assert variable in line
    assert says in line


def test_an_upstream_is_one_url_or_several(environment):
    environment.setenv("COSTLAB_USERS_URL", "http://127.0.0.1:8141, http://127.0.0.1:8142/")
    assert load(Settings, "users").users_url == "http://127.0.0.1:8141,http://127.0.0.1:8142"


def test_what_was_given_is_not_repeated_since_it_may_hold_a_password(environment, capsys):
    environment.setenv("COSTLAB_DATABASE_URL", "mysql://me:hunter2@host/db")
    with pytest.raises(SystemExit):
        load(Settings, "users")
    assert "hunter2" not in capsys.readouterr().err


def test_a_missing_one_is_named(environment, capsys):
    environment.delenv("COSTLAB_DATABASE_URL")
    with pytest.raises(SystemExit):
        load(Settings, "users")
    assert "COSTLAB_DATABASE_URL: Field required" in capsys.readouterr().err
