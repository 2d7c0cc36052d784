"""What a service uses, from /proc: of a folder that looks like it, and of a real tree of processes."""

import doctest
import os
import shutil
import subprocess
import sys

import pytest
from prometheus_client import REGISTRY

from costlab.service import process_usage
from costlab.service.process_usage import MEMORY_SECONDS, PAUSE_SECONDS, ProcessUsage

TICKS = os.sysconf("SC_CLK_TCK")


def usage() -> tuple[float, float]:
    return REGISTRY.get_sample_value("process_cpu_time_seconds"), REGISTRY.get_sample_value(
        "process_memory_usage_bytes"
    )


@pytest.fixture
def proc(tmp_path):
    """``proc(pid, cpu ticks, kB of PSS, children)`` puts a process there."""

    def put(pid: int, ticks: int, kilobytes: int, *children: int) -> None:
        (tmp_path / f"{pid}/task/{pid}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{pid}/stat").write_text(f"{pid} (a b) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0")
        (tmp_path / f"{pid}/smaps_rollup").write_text(f"Rss: 9 kB\nPss:   {kilobytes} kB\nPss_Anon: 1 kB\n")
        (tmp_path / f"{pid}/task/{pid}/children").write_text(" ".join(map(str, children)))

    put.folder = tmp_path
    put.gone = lambda pid: shutil.rmtree(tmp_path / str(pid))
    return put


def test_a_service_is_its_first_process_and_all_below_it(proc):
    proc(10, 1 * TICKS, 100, 11, 12)
    proc(11, 2 * TICKS, 200)
    proc(12, 3 * TICKS, 300, 13)
    proc(13, 4 * TICKS, 400)
    proc(99, 5 * TICKS, 500)
    ProcessUsage(10, proc.folder).record(0.0)
    assert usage() == (10, 1000 * 1024)


def test_it_reads_cpu_time_once_a_second_at_most_and_memory_less_often(proc):
    proc(10, TICKS, 100)
    watched = ProcessUsage(10, proc.folder)
    watched.record(50.0)
    proc(10, 2 * TICKS, 200)
    watched.record(50.0 + PAUSE_SECONDS / 2)
    assert usage() == (1, 100 * 1024)
    watched.record(50.0 + PAUSE_SECONDS)
    assert usage() == (2, 100 * 1024)
    watched.record(50.0 + MEMORY_SECONDS)
    assert usage() == (2, 200 * 1024)


def test_a_process_that_was_forked_later_counts_from_the_next_reading_of_cpu_time(proc):
    proc(10, 5 * TICKS, 100)
    watched = ProcessUsage(10, proc.folder)
    watched.record(0.0)
    proc(10, 5 * TICKS, 100, 11)
    proc(11, 2 * TICKS, 100)
    watched.record(PAUSE_SECONDS)
    assert usage() == (7, 100 * 1024)


def test_whichever_process_is_asked_the_same_ones_count(proc, tmp_path):
    """11 was asked, 12 dies and its time is the parent's, 13 is forked and asked, then 11 again."""
    proc(10, 1 * TICKS, 100, 11, 12)
    proc(11, 2 * TICKS, 100)
    proc(12, 3 * TICKS, 100)
    first, second = (ProcessUsage(10, proc.folder, tmp_path) for _ in range(2))
    told = []
    first.record(0.0)
    told.append(usage()[0])
    proc.gone(12)
    proc(10, 4 * TICKS, 100, 11, 13)
    proc(13, 5 * TICKS, 100)
    for asked in (second, first):
        asked.record(PAUSE_SECONDS)
        told.append(usage()[0])
    assert told == [6, 11, 11]


def test_cpu_time_never_falls_below_what_another_process_has_told(proc, tmp_path):
    proc(10, 1 * TICKS, 100, 11)
    proc(11, 8 * TICKS, 100)
    first, second = (ProcessUsage(10, proc.folder, tmp_path) for _ in range(2))
    first.record(0.0)
    proc.gone(11)  # and nobody waited for it
    second.record(0.0)
    assert usage()[0] == 9
    proc(10, 12 * TICKS, 100)
    second.record(PAUSE_SECONDS)
    assert usage()[0] == 12


def test_where_the_shared_folder_cannot_be_written_to_cpu_time_is_told_as_it_was_read(proc):
    proc(10, 3 * TICKS, 100)
    ProcessUsage(10, proc.folder, proc.folder / "none").record(0.0)
    assert usage()[0] == 3


def test_a_child_that_ends_while_it_is_read_is_not_counted_twice(proc, monkeypatch):
    proc(10, 1 * TICKS, 100, 11)
    proc(11, 2 * TICKS, 100)
    read = process_usage._text

    def ends_once_read(file: str) -> str:
        text = read(file)
        if file.endswith("/11/stat"):
            proc.gone(11)
            proc(10, 3 * TICKS, 100)
        return text

    monkeypatch.setattr(process_usage, "_text", ends_once_read)
    watched = ProcessUsage(10, proc.folder)
    watched.record(0.0)
    assert usage()[0] == 3
    watched.record(PAUSE_SECONDS)
    assert usage()[0] == 3


def test_a_process_that_ends_meanwhile_is_left_out(proc):
    proc(10, TICKS, 100, 11)
    ProcessUsage(10, proc.folder).record(0.0)
    assert usage() == (1, 100 * 1024)


def test_where_there_is_no_proc_nothing_is_said(tmp_path, proc):
    proc(10, TICKS, 7)
    ProcessUsage(10, proc.folder).record(0.0)
    ProcessUsage(10, tmp_path / "none").record(9.0)
    assert usage() == (1, 7 * 1024)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_child_that_has_ended_is_still_counted():
    watched = ProcessUsage(os.getpid())
    watched.record(0.0)
    before, memory = usage()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    watched.record(PAUSE_SECONDS)
    assert usage()[0] - before >= 0.25
    assert memory > 1_000_000


def test_the_example_in_the_documentation_holds():
    assert doctest.testmod(process_usage).failed == 0
