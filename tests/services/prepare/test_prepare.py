"""prepare: one command before the services, safe to run again, twice at once, and after it was interrupted."""

import os
import stat
import subprocess
import sys
import threading

import pytest

from services.orders import seed as orders_seed
from services.prepare import PrepareError, ensure_token, wait_for_database
from tests.services.conftest import PASSWORD, prepared

ENVIRONMENT = {
    "COSTLAB_TOKEN_FILE": "/nowhere/token",
    "COSTLAB_ADMIN_DATABASE_URL": "postgresql://postgres@127.0.0.1:1/costlab",
    "COSTLAB_ROLE_PASSWORD": PASSWORD,
}


@pytest.fixture
def small_seed(monkeypatch):
    """A thousandth of the orders, where it does not matter how many there are."""
    monkeypatch.setattr(orders_seed, "PRODUCTS", 200)
    monkeypatch.setattr(orders_seed, "ORDERS", 100)


def start(**environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "services.prepare"]
    known = {name: value for name, value in os.environ.items() if not name.startswith("COSTLAB_")}
    return subprocess.Popen(command, env=known | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_second_run_changes_nothing_and_is_quick(database):
    """Nor costs more than a fifth of the first; of CPU and as a ratio, so that neither load nor machine decides."""
    assert [line for line in database.reported if line.startswith("seeded")] != []
    again = prepared(database.admin_url, database.token_file)
    assert again.reported == []
    assert again.cpu_seconds < database.cpu_seconds / 5


def test_two_runs_at_once_do_the_work_once(fresh_database_url, tmp_path, small_seed):
    barrier, runs = threading.Barrier(2), []

    def run():
        barrier.wait(10)
        runs.append(prepared(fresh_database_url, tmp_path / "token"))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(len(run.reported) for run in runs)[0] == 0
    together = "".join(line for run in runs for line in run.reported)
    assert together.count("seeded 10,000 users") == together.count("token written") == 1


def test_an_interrupted_seed_leaves_nothing_half_loaded(fresh_database_url, tmp_path, small_seed, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(orders_seed, "orders", lambda lines: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepared(fresh_database_url, tmp_path / "token")
    mended = prepared(fresh_database_url, tmp_path / "token")
    assert [line.split(" in ")[0] for line in mended.reported if "orders" in line and "seeded" in line] != []
    assert mended.one("select count(*) from orders.products") == 200


def test_seed_data_is_loaded_into_empty_tables_only(fresh_database_url, tmp_path, small_seed):
    first = prepared(fresh_database_url, tmp_path / "token")
    first.rows("delete from users.users where id > 1")
    prepared(fresh_database_url, tmp_path / "token")
    assert first.one("select count(*) from users.users") == 1


def test_the_token_is_written_once_and_not_for_everybody(tmp_path):
    path = tmp_path / "control" / "token"
    assert ensure_token(path)
    token = path.read_text().strip()
    assert len(bytes.fromhex(token)) == 32
    assert not stat.S_IMODE(path.stat().st_mode) & 0o007
    assert not ensure_token(path)
    assert path.read_text().strip() == token


def test_an_empty_token_file_is_refused(tmp_path):
    (tmp_path / "token").touch()
    with pytest.raises(PrepareError, match="is empty; remove it"):
        ensure_token(tmp_path / "token")


def test_a_token_that_cannot_be_kept_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PrepareError, match="the control token cannot be kept"):
        ensure_token(tmp_path / "file" / "token")


def test_a_database_that_stays_away_is_one_clear_error():
    with pytest.raises(PrepareError, match=r"PostgreSQL did not let us in for 0 s: .*refused"):
        wait_for_database(ENVIRONMENT["COSTLAB_ADMIN_DATABASE_URL"], seconds=0.2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COSTLAB_TOKEN_FILE", ""),
        ("COSTLAB_ADMIN_DATABASE_URL", "mysql://root@db/costlab"),
        ("COSTLAB_ROLE_PASSWORD", ""),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(name, value):
    run = start(**ENVIRONMENT | {name: value})
    _, errors = run.communicate(timeout=30)
    assert run.returncode == 4
    assert len(errors.splitlines()) == 1
    assert f"prepare: cannot start: {name}: " in errors
