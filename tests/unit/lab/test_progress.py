"""What a run shows while it goes on is true."""

import io

import pytest
from rich.console import Console

from costlab.lab.plan import Planned
from costlab.lab.progress import Progress
from tests.unit.lab import synthetic


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def progress(clock):
    made = Progress(Console(file=io.StringIO(), width=100), clock)
    made.begun(synthetic.day_11(), synthetic.day_11().quick)
    return made


def drawn(progress):
    console = Console(file=io.StringIO(), width=100)
    console.print(progress._draw())
    return console.file.getvalue()


def test_before_the_first_block_the_time_left_follows_from_the_declared_lengths(progress):
    progress.started(1, 8, Planned(1, "off", 1))
    assert progress.seconds_left() == pytest.approx(8 * (7 + 5 + 2))


def test_afterwards_it_follows_from_what_blocks_took_restarts_included(progress, clock):
    progress.started(1, 8, Planned(1, "off", 1))
    clock.now = 30.0
    progress.finished(synthetic.block(1, "off"))
    progress.started(2, 8, Planned(1, "ttl", 1))
    assert progress.seconds_left() == pytest.approx(7 * 30)
    progress.progressed(0.5, {"phase": "measure"})
    assert progress.seconds_left() == pytest.approx(6.5 * 30)


def test_a_resumed_run_counts_only_what_is_left(progress):
    progress.started(7, 8, Planned(4, "off", 1))
    assert progress.seconds_left() == pytest.approx(2 * 14)


def test_at_the_end_no_time_is_left(progress):
    progress.started(8, 8, Planned(4, "off", 1))
    progress.finished(synthetic.block(4, "off"))
    assert progress.seconds_left() == 0


def test_the_current_block_its_phase_and_live_figures_are_shown(progress):
    progress.started(1, 8, Planned(1, "off", 1))
    progress.finished(synthetic.block(1, "off"))
    progress.started(2, 8, Planned(1, "ttl", 1))
    assert "block 2/8: round 1, ttl, setting the state" in drawn(progress)
    progress.progressed(0.5, {"phase": "measure", "answered": 120, "failed": 3})
    text = drawn(progress)
    assert "ttl, measuring: 120 answered, 3 failed" in text
    assert "off so far: queries/request 1.00 · p50 9.99 ms" in text
    assert "left" in text


def test_a_block_is_one_line_however_narrow_the_page():
    """A log file counts as 80 columns wide; a line of it is a block, for whoever greps."""
    console = Console(file=io.StringIO(), width=40)
    made = Progress(console)
    made.begun(synthetic.day_11(), synthetic.day_11().quick)
    made.started(1, 8, Planned(1, "off", 1))
    made.finished(synthetic.block(1, "off"))
    made.said("noise floor " + 20 * "word ")
    assert len(console.file.getvalue().splitlines()) == 2
