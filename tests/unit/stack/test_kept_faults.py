"""Records, keepers, and processes that really stand still. No stack: the paused ones are a shell and its child."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from costlab.service.faults import Record
from costlab.stack import StackError, fault_keeper
from costlab.stack.kept_faults import KeptFaults, end_all
from costlab.stack.pausing import PausableTree
from tests.conditions import eventually

ANSWERER = "import socket,sys; s=socket.socket(fileno=int(sys.argv[1]));\nwhile 1: c,_=s.accept(); c.sendall(b'here')"


@pytest.fixture
def server():
    """A shell with a child that says "here" to whoever connects; its pid and port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        descriptor = listening.fileno()
        os.set_inheritable(descriptor, True)
        command = f'{sys.executable} -c "$0" {descriptor} & wait'
        process = subprocess.Popen(["sh", "-c", command, ANSWERER], close_fds=False, start_new_session=True)
        port = listening.getsockname()[1]
        eventually(lambda: answers(port))
        yield process.pid, port
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port, within=0.3):
    """Whether a client other than ours gets a word."""
    with socket.create_connection(("127.0.0.1", port), within) as connection:
        connection.settimeout(within)
        try:
            return connection.recv(4) == b"here"
        except TimeoutError:
            return False


def record(seconds, identity="abc"):
    now = time.time()
    return Record(id=identity, fault="pause", on="users", since=now, until=now + seconds)


def pause(folder, pid, seconds, identity="abc"):
    tree = PausableTree(pid)
    with KeptFaults(folder, "process").kept(record(seconds, identity), tree.undo()) as better:
        tree.freeze()
        better(tree.undo())


def keeper_of(folder, identity="abc"):
    return json.loads((folder / f"{identity}.json").read_text())["keeper"]


def test_a_paused_process_takes_connections_and_says_nothing_until_its_time_is_up(tmp_path, server):
    pid, port = server
    pause(tmp_path, pid, 1.5)
    keeper = keeper_of(tmp_path)
    assert not answers(port)
    assert len(KeptFaults(tmp_path, "process").active()) == 1
    eventually(lambda: answers(port), within=20)
    eventually(lambda: fault_keeper.identity(keeper[0]) != keeper[1])
    assert list(tmp_path.iterdir()) == []


def test_a_pause_ends_after_kill_9_of_who_set_it(tmp_path, server):
    """The whole process group of the command is killed, as a closed terminal or a CI runner would."""
    pid, port = server
    script = (
        "import signal; from pathlib import Path; from tests.unit.stack.test_kept_faults import pause\n"
        f"pause(Path({str(tmp_path)!r}), {pid}, 3); print('paused', flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as command:
        assert command.stdout.readline() == "paused\n"
        os.killpg(command.pid, signal.SIGKILL)
    assert not answers(port)
    eventually(lambda: answers(port), within=20)


def test_clear_ends_a_pause_at_once_and_its_keeper_too(tmp_path, server):
    pid, port = server
    pause(tmp_path, pid, 600)
    number, started = keeper_of(tmp_path)
    end_all(tmp_path)
    assert answers(port, within=5)
    eventually(lambda: fault_keeper.identity(number) != started)
    assert list(tmp_path.iterdir()) == []


def test_the_keeper_belongs_to_nobody(tmp_path, server):
    """Its own session and no parent of ours: nothing that ends us ends it."""
    pause(tmp_path, server[0], 600)
    keeper = psutil.Process(keeper_of(tmp_path)[0])
    assert os.getsid(keeper.pid) == keeper.pid
    assert keeper.pid not in {child.pid for child in psutil.Process().children(recursive=True)}
    assert keeper.memory_info().rss < 40_000_000
    end_all(tmp_path)


def test_who_looks_after_the_keeper_was_killed_starts_another(tmp_path, server):
    pid, port = server
    pause(tmp_path, pid, 2)
    first, _ = keeper_of(tmp_path)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: fault_keeper.identity(first) is None)
    assert len(KeptFaults(tmp_path, "process").active()) == 1
    assert keeper_of(tmp_path)[0] != first
    eventually(lambda: answers(port), within=20)


def test_a_fault_that_cannot_be_made_leaves_no_record_and_no_keeper(tmp_path):
    kept = KeptFaults(tmp_path, "process")
    keepers = []

    def fail():
        keepers.append(keeper_of(tmp_path))
        raise StackError("it cannot")

    with pytest.raises(StackError, match="it cannot"), kept.kept(record(600), {"resume": []}):
        fail()
    eventually(lambda: fault_keeper.identity(keepers[0][0]) != keepers[0][1])
    assert kept.active() == []
    assert list(tmp_path.iterdir()) == []


def test_levels_see_their_own_faults_only(tmp_path, server):
    pause(tmp_path, server[0], 600)
    assert KeptFaults(tmp_path, "wire").active() == []
    assert KeptFaults(tmp_path, "wire").clear() == 0
    assert not KeptFaults(tmp_path, "wire").end("abc")
    assert KeptFaults(tmp_path, "process").end("abc")


def test_what_was_killed_while_paused_is_no_fault_any_more(tmp_path):
    with subprocess.Popen(["sleep", "600"]) as process:
        pause(tmp_path, process.pid, 600)
        process.kill()
        process.wait()
        eventually(lambda: KeptFaults(tmp_path, "process").active() == [])


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "abc.json").write_text("{")
    with pytest.raises(StackError, match=r"abc\.json is damaged"):
        KeptFaults(tmp_path, "process").active()
