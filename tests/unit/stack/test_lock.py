"""One costlab at a time works on a stack."""

import subprocess
import sys
import threading

import pytest

from costlab.stack import StackError
from costlab.stack.lock import alone, alone_or_refused


def test_a_second_one_waits_for_the_first_and_says_so(tmp_path):
    file, said, order = tmp_path / "state" / "lock", [], []
    waiting = threading.Event()

    def report(line):
        said.append(line)
        waiting.set()

    def second():
        with alone(file, report):
            order.append("second")

    thread = threading.Thread(target=second)
    with alone(file, said.append):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert len(said) == 1
    assert said[0].startswith("waiting for another costlab (pid ")


def test_whoever_waited_for_a_removed_folder_takes_the_new_one(tmp_path):
    """``down --volumes`` removes the folder with the lock: nobody may go on with a file that is gone."""
    file = tmp_path / "state" / "lock"
    with alone(file, print):
        file.unlink()
        with alone(file, print):
            assert file.exists()


HOLD = """
import sys
from pathlib import Path
from costlab.stack.lock import alone_or_refused
with alone_or_refused(Path(sys.argv[1]), "running"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused_at_once_and_a_killed_one_is_taken_over(tmp_path):
    file = tmp_path / "run.lock"
    command = [sys.executable, "-c", HOLD, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        refused = pytest.raises(StackError, match=rf"another costlab \(pid {other.pid}\) is running an experiment")
        with refused, alone_or_refused(file, "running an experiment"):
            raise AssertionError("two at once")
        other.kill()
    with alone_or_refused(file, "running an experiment"):
        assert file.exists()
