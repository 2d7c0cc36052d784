"""A fault that cannot end itself is ended by its keeper, on time, whatever has died by then."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack

import psutil
import pytest

from costlab.stack import fault_keeper
from tests.conditions import eventually
from tests.loopback import answering as server

TOXIC = "/proxies/orders.postgres/toxics/x"


class Clock:
    """A clock that sleeping moves on; ``then`` is called once after the first sleep."""

    def __init__(self, now=0.0, then=lambda: None):
        self.now = now
        self.then = then

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.then, then = lambda: None, self.then
        then()


@pytest.fixture
def sleeper():
    """A process that does nothing, and is stopped."""
    with subprocess.Popen(["sleep", "600"]) as process:
        process.send_signal(signal.SIGSTOP)
        eventually(lambda: stopped(process.pid))
        yield process
        process.kill()


@pytest.fixture
def answering():
    """``answering(500, 204)``: the URL of a server that gives these answers one after the other, and what it got."""
    with ExitStack() as servers:

        def serve(*codes):
            got, left = [], list(codes)

            def answer(method, path):
                got.append((method, path))
                return left.pop(0), None

            return servers.enter_context(server(answer)) + TOXIC, got

        yield serve


def stopped(pid):
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def written(folder, until, undo, maker=None):
    file = folder / "x.json"
    file.write_text(json.dumps({"id": "x", "until": until, "undo": undo, "maker": maker}))
    return str(file)


def this_process():
    return [os.getpid(), fault_keeper.identity(os.getpid())]


def paused(process):
    return {"resume": [[process.pid, fault_keeper.identity(process.pid)]]}


def test_what_is_paused_goes_on_at_its_time_and_not_before(tmp_path, sleeper):
    file, clock = written(tmp_path, 5, paused(sleeper)), Clock()
    clock.then = lambda: seen.append(stopped(sleeper.pid))
    seen = []
    fault_keeper.keep(file, clock, clock.sleep)
    assert seen == [True]
    assert clock.now == pytest.approx(5, abs=fault_keeper.TICK)
    eventually(lambda: not stopped(sleeper.pid))
    assert not (tmp_path / "x.json").exists()


def test_the_keeper_leaves_when_the_record_is_removed(tmp_path, sleeper):
    file = written(tmp_path, 5, paused(sleeper))
    clock = Clock(then=(tmp_path / "x.json").unlink)
    fault_keeper.keep(file, clock, clock.sleep)
    assert clock.now < 1
    assert stopped(sleeper.pid), "whoever removed the record has ended the fault, or means it to stay"


def test_the_keeper_leaves_when_what_was_paused_is_killed(tmp_path, sleeper):
    file = written(tmp_path, 5, paused(sleeper))

    def kill():
        sleeper.kill()
        sleeper.wait()

    clock = Clock(then=kill)
    fault_keeper.keep(file, clock, clock.sleep)
    assert clock.now < 1
    assert not (tmp_path / "x.json").exists()


def test_children_of_a_killed_parent_go_on_at_once(tmp_path, sleeper):
    """Backends that stood still for ever would keep a killed PostgreSQL from being started again."""
    gone = [2**22 - 1, "1"]
    clock = Clock()
    fault_keeper.keep(written(tmp_path, 5, {"resume": [gone, *paused(sleeper)["resume"]]}), clock, clock.sleep)
    assert clock.now == 0
    eventually(lambda: not stopped(sleeper.pid))


def test_what_is_still_being_made_when_its_time_is_up_is_ended_once_it_is_made(tmp_path, sleeper):
    """Ended before, it would be made afterwards, and nobody would be left to end it."""
    file, clock = written(tmp_path, 0, {"resume": []}, this_process()), Clock()
    clock.then = lambda: written(tmp_path, 0, paused(sleeper))
    fault_keeper.keep(file, clock, clock.sleep)
    assert clock.now == fault_keeper.TICK
    eventually(lambda: not stopped(sleeper.pid))
    assert not (tmp_path / "x.json").exists()


def test_a_maker_that_stands_still_is_not_waited_for_for_ever(tmp_path, sleeper):
    file, clock = written(tmp_path, 5, paused(sleeper), this_process()), Clock()
    fault_keeper.keep(file, clock, clock.sleep)
    assert clock.now == pytest.approx(5 + fault_keeper.MAKING, abs=2 * fault_keeper.TICK)
    eventually(lambda: not stopped(sleeper.pid))


def test_when_one_of_several_is_killed_all_the_others_go_on(tmp_path, sleeper):
    """Killing what is paused ends the pause."""
    gone, clock = {"resume": [[2**22 - 1, "1"]]}, Clock()
    fault_keeper.keep(written(tmp_path, 5, {"all": [paused(sleeper), gone]}), clock, clock.sleep)
    assert clock.now == 0
    eventually(lambda: not stopped(sleeper.pid))


def test_one_of_several_that_cannot_be_ended_yet_keeps_no_other_from_it(sleeper):
    assert not fault_keeper.undo({"all": [{"run": ["false"]}, paused(sleeper)]})
    eventually(lambda: not stopped(sleeper.pid))


def test_a_later_process_with_the_same_number_is_left_alone(sleeper):
    assert fault_keeper.undo({"resume": [[sleeper.pid, "another"]]})
    assert stopped(sleeper.pid)


def test_a_process_is_ended_at_its_time_and_a_later_one_with_its_number_is_not(tmp_path):
    with subprocess.Popen(["sleep", "600"]) as process:
        started = fault_keeper.identity(process.pid)
        assert fault_keeper.undo({"end": [[process.pid, "another"]]})
        clock = Clock()
        fault_keeper.keep(written(tmp_path, 5, {"end": [[process.pid, started]]}), clock, clock.sleep)
        assert clock.now == pytest.approx(5, abs=fault_keeper.TICK)
        assert process.wait(timeout=10) == -signal.SIGTERM


def test_an_ended_process_has_no_identity_even_before_its_parent_looks():
    process = subprocess.Popen(["true"])
    try:
        eventually(lambda: fault_keeper.identity(process.pid) is None)
    finally:
        process.wait()


def test_a_toxic_is_deleted_over_http_and_asked_again_after_an_error(tmp_path, answering):
    url, got = answering(503, 204)
    clock = Clock()
    fault_keeper.keep(written(tmp_path, 1, {"call": ["DELETE", url, None]}), clock, clock.sleep)
    assert got == [("DELETE", TOXIC)] * 2
    assert not (tmp_path / "x.json").exists()


def test_a_toxic_that_is_gone_already_is_no_error(answering):
    url, got = answering(404)
    assert fault_keeper.undo({"call": ["DELETE", url, None]})
    assert len(got) == 1


def test_where_nobody_listens_the_toxics_have_died_with_toxiproxy():
    clock = Clock()
    assert fault_keeper.undo({"call": ["DELETE", f"http://127.0.0.1:9{TOXIC}", None]}, clock, clock.sleep)
    assert fault_keeper.REFUSED <= clock.now < 2 * fault_keeper.REFUSED


def test_an_answer_that_is_none_is_no_reason_to_leave():
    """Toxiproxy, killed while it answered."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def mumble():
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HT")

        thread = threading.Thread(target=mumble)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}{TOXIC}"
        assert not fault_keeper.undo({"call": ["DELETE", url, None]})
        thread.join()


@pytest.mark.parametrize(
    ("words", "ended"),
    [("Container 1f2e is not paused", True), ("No such container: 1f2e", True), ("permission denied", False)],
)
def test_a_command_that_fails_has_still_done_its_work_when_nothing_is_paused_any_more(words, ended):
    command = [sys.executable, "-c", f"import sys; sys.exit({words!r})"]
    assert fault_keeper.undo({"run": command}) is ended
    assert fault_keeper.undo({"run": ["true"]})
