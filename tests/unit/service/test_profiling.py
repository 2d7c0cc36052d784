"""Profiling: nothing when off, sums over threads when on, and a clear word where a profiler is not there."""

import stat
import threading
import tracemalloc

import pytest

from costlab.service import profiling
from costlab.service.flags import BadFlagValue
from costlab.service.profiling import CallProfile, CallTimer, Profiling, leaves
from tests.conditions import eventually

PUBLIC = {"SERVER_PORT": "8000"}
INTERNAL = {"SERVER_PORT": "9000"}


class Followed(dict):
    """Flags whose follower is called by hand."""

    def on_change(self, listener):
        self.changed = listener

    def switch(self, mode):
        self["profiling"] = mode
        self.changed()


def inner(number):
    return number * 2


def served(environ, start_response):
    return [str(inner(21)).encode()]


@pytest.fixture
def flags():
    return Followed(profiling="off")


@pytest.fixture
def profiled(flags):
    made = Profiling(served, flags, internal_port=9000)
    yield made
    made.stop()


def calls_of(document, name):
    return sum(row["calls"] for row in document["functions"] if name in row["function"])


def test_off_keeps_nothing(profiled):
    assert profiled(PUBLIC, None) == [b"42"]
    assert profiled.document().keys() == {"profiling", "process"}


def test_cprofile_adds_up_the_calls_of_all_threads(profiled, flags):
    flags.switch("cprofile")
    threads = [threading.Thread(target=profiled, args=(PUBLIC, None)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    profiled(INTERNAL, None)
    document = profiled.document()
    assert document["requests"] == 5
    assert calls_of(document, "inner") == 5


def test_a_profile_is_gone_when_the_flag_changes(profiled, flags):
    flags.switch("cprofile")
    profiled(PUBLIC, None)
    flags.switch("off")
    flags.switch("cprofile")
    assert profiled.document()["requests"] == 0


def test_a_request_that_fails_is_profiled_and_fails_all_the_same():
    def broken():
        raise ValueError("no")

    profile = CallProfile()
    with pytest.raises(ValueError, match="no"):
        profile.run(broken)
    assert calls_of(profile.document(), "broken") == 1


def test_a_call_timer_tells_own_time_from_time_within():
    """On a clock that goes one second at each look: inner takes 1 s, outer 3 s of which 2 are its own."""
    moments = iter(range(100))
    timer = CallTimer(lambda: next(moments))

    def outer():
        return inner(1)

    timer.enable()
    outer()
    timer.disable()
    times = {name.rpartition(" ")[2]: row for name, row in timer.getstats().items()}
    assert times["inner"] == (1, 1, 1)
    assert times["outer"] == (1, 2, 3)


def test_a_call_timer_counts_recursion_once_in_total():
    def count(left):
        return count(left - 1) if left else 0

    timer = CallTimer()
    timer.enable()
    count(4)
    timer.disable()
    [(calls, own, total)] = [row for name, row in timer.getstats().items() if name.endswith(" count")]
    assert calls == 5
    assert own == pytest.approx(total)


def test_tracemalloc_names_the_lines_that_hold_memory_and_stops(profiled, flags):
    flags.switch("tracemalloc")
    kept = [bytes(100_000) for _ in range(10)]
    document = profiled.document()
    assert document["bytes"] >= sum(map(len, kept))
    assert any("test_profiling" in row["line"] and row["bytes"] >= 1_000_000 for row in document["lines"])
    flags.switch("off")
    assert not tracemalloc.is_tracing()


def test_py_spy_is_refused_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr(profiling, "_py_spy", lambda: None)
    with pytest.raises(BadFlagValue, match="pip install py-spy"):
        profiling.refuse({"profiling": "py-spy"})
    profiling.refuse({"profiling": "cprofile"})


def program(tmp_path, text):
    path = tmp_path / "py-spy"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_rounds_of_py_spy_are_added_up_by_line(profiled, flags, tmp_path, monkeypatch):
    """Its last argument is the file it writes."""
    script = 'for output; do :; done; printf "main (a.py:1);work (a.py:7) 3\\nmain (a.py:1) 1\\n" > "$output"'
    path = program(tmp_path, script)
    monkeypatch.setattr(profiling, "_py_spy", lambda: path)
    flags.switch("py-spy")
    eventually(lambda: profiled.document()["rounds"] >= 2)
    top = profiled.document()["lines"][0]
    assert top["line"] == "work (a.py:7)"
    assert top["samples"] >= 6


def test_what_py_spy_complains_about_is_said(profiled, flags, tmp_path, monkeypatch):
    path = program(tmp_path, "echo Permission denied >&2; exit 1")
    monkeypatch.setattr(profiling, "_py_spy", lambda: path)
    flags.switch("py-spy")
    eventually(lambda: profiled.document().get("error") == "Permission denied")


def test_samples_are_counted_by_innermost_line():
    assert leaves("a;b 2\na 1\nc;b 3\n") == {"b": 5, "a": 1}
