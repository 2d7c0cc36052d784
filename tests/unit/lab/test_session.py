"""A run from beginning to end, without a stack: what is said, kept and refused."""

import shutil
import threading

import pytest

from costlab.lab import catalogue, price_sheet, result, session
from costlab.lab.errors import Interrupted, LabError
from tests.unit.lab import killed_run
from tests.unit.lab.test_runner import Listener, Load

DAY = catalogue.find("11")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A place without a stack, whose load takes no time."""
    stack = killed_run.stand_in(monkeypatch.setattr)
    return session.Place(stack, Listener(), threading.Event(), tmp_path / "runs", Load())


@pytest.fixture
def slip(tmp_path, monkeypatch):
    """A slip in a price sheet that is not the one bills are usually made with."""
    prices = tmp_path / "prices"
    shutil.copytree(price_sheet.PRICES, prices)
    (prices / "gcp.toml").write_text((prices / "gcp.toml").read_text().replace("price = ", "prize = ", 1))
    monkeypatch.setattr(price_sheet.check, "__defaults__", (prices,))


def test_a_slip_in_a_price_sheet_is_told_before_the_first_block(place, slip):
    with pytest.raises(LabError, match=r"gcp\.toml:\d+: unknown key rows\.[a-z_]+\.prize"):
        session.run_day(DAY, session.Wish(quick=True), place)
    assert place.load.specs == []
    assert not place.runs.exists()


def interrupted(place, in_block, **wish):
    """A full run that ends with Ctrl-C in that block, and the files it leaves: of the day and of its noise floor."""
    place.load.act = lambda call: place.stop.set() if call == in_block else None
    with pytest.raises(Interrupted):
        session.run_day(DAY, session.Wish(**wish), place)
    place.stop.clear()
    return [sorted(folder.glob("*.json")) for folder in (place.runs / DAY.slug, place.runs / "noise" / DAY.slug)]


def test_a_run_that_ends_while_its_noise_floor_is_measured_goes_on_as_it_was_wished(place):
    [path], [floor] = interrupted(place, in_block=5, rounds=2, seed=7)
    assert (result.load(path).status, len(result.load(floor).blocks)) == ("interrupted", 4)
    there = result.load(floor).blocks
    _, finished = session.resume(DAY, path, place)
    assert (finished.status, finished.seed, len(finished.blocks)) == ("complete", 7, 4)
    measured = result.load(floor)
    assert (measured.status, measured.blocks[:4], len(measured.blocks)) == ("complete", there, 12)
    assert finished.noise.measured == measured.started
    assert ("said", f"going on with the run of {finished.started}: 0 of 4 blocks are there already") in (
        place.listener.events
    )


def test_a_noise_floor_that_is_there_is_not_measured_again(place):
    [path], [floor] = interrupted(place, in_block=13, rounds=2, seed=7)
    measured = result.load(floor)
    assert measured.status == "complete"
    _, finished = session.resume(DAY, path, place)
    assert (len(finished.blocks), finished.noise.measured) == (4, measured.started)
    assert result.load(floor) == measured


def test_a_run_that_ends_before_its_first_block_leaves_nothing(place):
    assert interrupted(place, in_block=1, rounds=2) == [[], []]
    assert interrupted(place, in_block=2, quick=True) == [[], []]
