"""Reading the logs of services."""

import pytest

from costlab.stack import log_files

SETTINGS = """\
users: cannot start: COSTLAB_THREADS: Input should be a valid integer
{"level":"error","event":"gunicorn.error","message":"Worker (pid:13) exited with code 4"}
{"level":"error","event":"gunicorn.error","message":"Reason: App failed to load."}
"""
TRACEBACK = """\
Traceback (most recent call last):
  File "app.py", line 1, in <module>
ModuleNotFoundError: No module named 'flask'
{"level":"error","event":"gunicorn.error","message":"Shutting down: Master"}
"""
LOGGED = """\
{"event":"gunicorn.error","message":"Exception in worker process","exception":"Traceback:\\n  line 1\\nKeyError: 'x'"}
{"level":"error","event":"gunicorn.error","message":"Worker (pid:13) exited with code 3"}
"""
POSTGRES = """\
2026-11-22 19:00:00 UTC [12] LOG:  starting PostgreSQL 15.18
2026-11-22 19:00:00 UTC [12] FATAL:  could not write lock file "postmaster.pid": No space left on device
2026-11-22 19:00:00 UTC [12] LOG:  database system is shut down
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (SETTINGS, "users: cannot start: COSTLAB_THREADS: Input should be a valid integer"),
        (TRACEBACK, "ModuleNotFoundError: No module named 'flask'"),
        (LOGGED, "KeyError: 'x'"),
        (POSTGRES, 'FATAL:  could not write lock file "postmaster.pid": No space left on device'),
        ("starting\nsomething odd\n", "something odd"),
        ("", "it wrote nothing"),
    ],
)
def test_the_cause_of_a_failure_is_the_line_that_gives_the_reason(tmp_path, text, reason):
    file = tmp_path / "service.log"
    file.write_text(text)
    assert log_files.cause(file).endswith(reason)


def test_what_an_earlier_start_wrote_is_no_cause(tmp_path):
    file = tmp_path / "service.log"
    file.write_text("ValueError: long ago\n")
    before = log_files.size(file)
    with file.open("a") as log:
        log.write("port in use\n")
    assert log_files.cause(file, before) == "port in use"


def test_lines_of_several_services_carry_their_names(tmp_path):
    files = {"users": tmp_path / "users.log", "orders": tmp_path / "orders.log"}
    for name, file in files.items():
        file.write_text(f"hello from {name}\n")
    assert list(log_files.lines(files, follow=False)) == ["users  | hello from users", "orders | hello from orders"]


def test_one_service_is_read_as_it_is_and_a_service_that_wrote_nothing_has_no_lines(tmp_path):
    file = tmp_path / "users.log"
    assert list(log_files.lines({"users": file}, follow=False)) == []
    file.write_text("a\nb\n")
    assert list(log_files.lines({"users": file}, follow=False)) == ["a", "b"]


def test_following_goes_on_after_the_file_was_rotated(tmp_path):
    file = tmp_path / "users.log"
    file.write_text("before\n")
    followed = log_files.lines({"users": file}, follow=True)
    assert next(followed) == "before"
    file.rename(tmp_path / "users.log.1")
    file.write_text("after\n")
    assert next(followed) == "after"
