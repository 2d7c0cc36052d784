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


def record(seconds, identity="abc", on="users"):
    now = time.time()
    return Record(id=identity, fault="pause", on=on, since=now, until=now + seconds)


def pause(folder, pid, seconds, identity="abc"):
    tree = PausableTree(pid)
    with KeptFaults(folder, "process").kept(record(seconds, identity), tree.undo()) as better:
        tree.freeze()
        better(tree.undo())


def freeze(tree, better):
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


def test_a_pause_ends_after_kill_9_of_who_was_just_making_it(tmp_path, server):
    pid, port = server
    script = (
        "import signal; from pathlib import Path; from tests.unit.stack.test_kept_faults import *\n"
        f"with KeptFaults(Path({str(tmp_path)!r}), 'process').kept(record(3), PausableTree({pid}).undo()):\n"
        f"    PausableTree({pid}).freeze(); print('paused', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout.readline() == "paused\n"
        command.kill()
    assert not answers(port)
    eventually(lambda: answers(port), within=20)


def test_a_pause_that_took_longer_to_make_than_it_was_to_last_ends_too(tmp_path, server):
    pid, port = server
    now, tree = time.time(), PausableTree(pid)
    late = Record(id="abc", fault="pause", on="users", since=now - 2, until=now - 1)
    with KeptFaults(tmp_path, "process").kept(late, tree.undo()) as better:
        freeze(tree, better)
        assert not answers(port), "its keeper has looked at it three times meanwhile"
    eventually(lambda: answers(port))
    eventually(lambda: list(tmp_path.iterdir()) == [])


def test_clear_waits_for_a_pause_that_is_just_being_made_and_ends_it(tmp_path, server):
    pid, port = server
    tree = PausableTree(pid)
    making = KeptFaults(tmp_path, "process").kept(record(600), tree.undo())
    better = making.__enter__()

    def while_clear_waits(_seconds):
        freeze(tree, better)
        making.__exit__(None, None, None)

    assert KeptFaults(tmp_path, "process", sleep=while_clear_waits).clear() == 1
    assert answers(port, within=5)
    assert list(tmp_path.iterdir()) == []


def test_who_cannot_wait_any_longer_for_what_is_being_made_says_so(tmp_path):
    waits = []
    with KeptFaults(tmp_path, "process").kept(record(600), {"resume": []}):
        with pytest.raises(StackError, match=rf"pause on users is still being made by process {os.getpid()}"):
            KeptFaults(tmp_path, "process", sleep=waits.append).clear()
        assert sum(waits) == pytest.approx(fault_keeper.MAKING, rel=0.1)
    assert KeptFaults(tmp_path, "process").clear() == 1


def test_what_is_being_made_is_not_in_force_and_whoever_looks_gives_it_no_second_keeper(tmp_path):
    kept = KeptFaults(tmp_path, "process")
    with kept.kept(record(600), {"resume": []}):
        keeper = keeper_of(tmp_path)
        assert kept.active() == []
        assert [found.id for found in kept.being_made()] == ["abc"]
        assert keeper_of(tmp_path) == keeper
    assert [found.id for found in kept.active()] == ["abc"]
    assert kept.being_made() == []
    assert kept.clear() == 1


def test_a_keeper_that_is_killed_while_the_fault_is_made_has_a_successor(tmp_path):
    kept = KeptFaults(tmp_path, "process")
    with kept.kept(record(600), {"resume": []}):
        first, _ = keeper_of(tmp_path)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: fault_keeper.identity(first) is None)
    assert fault_keeper.lives(keeper_of(tmp_path))
    assert kept.clear() == 1


def test_clear_ends_the_others_too_when_one_cannot_be_ended(tmp_path, server):
    pid, port = server
    kept = KeptFaults(tmp_path, "process")
    (tmp_path / "aaa.json").write_text("{")
    with kept.kept(record(600, "bbb", on="redis"), {"run": ["false"]}):
        pass
    pause(tmp_path, pid, 600, "ccc")
    with pytest.raises(StackError, match=r"aaa\.json is damaged.*; pause on redis could not be ended yet"):
        kept.clear()
    assert answers(port, within=5)
    (tmp_path / "bbb.json").unlink()  # which is how its keeper is told to leave


@pytest.mark.parametrize(
    ("on", "instance", "ended"),
    [
        ("users", "users", 1),
        ("users", "users-2", 1),
        ("users-1", "users", 1),
        ("users-2", "users-2", 1),
        ("users-2", "users", 0),
        ("users-1", "users-2", 0),
        ("orders", "users", 0),
    ],
)
def test_what_is_killed_ends_the_pause_of_the_service_it_belongs_to(tmp_path, on, instance, ended):
    kept = KeptFaults(tmp_path, "process")
    with kept.kept(record(600, on=on), {"resume": []}):
        pass
    assert kept.end_on([instance]) == ended
    assert kept.clear() == 1 - ended


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


class Heard:
    """Who is told of faults, and notes it together with whether the fault could be felt by then."""

    def __init__(self, felt):
        self.said, self._felt = [], felt

    def begins(self, record):
        self.said.append((f"begins {record.id}", self._felt()))

    def over(self, identity):
        self.said.append((f"over {identity}", self._felt()))


def test_a_fault_is_told_of_before_it_is_made_and_after_it_was_ended(tmp_path):
    """Or a paused Redis could not tell the gateway's processes that it is going to be paused."""
    made = []
    heard = Heard(lambda: bool(made))
    faults = KeptFaults(tmp_path, "process", heard)
    with faults.kept(record(60), {"end": []}):
        made.append(True)
    assert heard.said == [("begins abc", False)]
    made.clear()
    faults.clear()
    assert heard.said[1:] == [("over abc", False)]


def test_a_fault_that_could_not_be_made_is_said_to_be_over(tmp_path):
    heard = Heard(lambda: True)
    with pytest.raises(OSError, match="no"), KeptFaults(tmp_path, "process", heard).kept(record(60), {"end": []}):
        raise OSError("no")
    assert [said for said, _ in heard.said] == ["begins abc", "over abc"]
