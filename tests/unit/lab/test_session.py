"""A run from beginning to end, without a stack: what is said, kept and refused."""

import shutil
import threading

import pytest

from costlab.lab import catalogue, price_sheet, session
from costlab.lab.errors import LabError
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
