"""The catalogue is loaded beside requests, and built anew in another layout while they are answered."""

import gc
import threading
import weakref

import psycopg2
import pytest
from prometheus_client import REGISTRY

from costlab.service.problem import Unavailable
from services.orders import flag_follower
from services.orders.catalogue.layouts import LAYOUTS
from services.orders.catalogue.loader import CatalogueLoader
from tests.conditions import eventually
from tests.services.orders.switch import Switch

ROWS = [(number, f"name {number}", "toys", number, 2, 3) for number in range(1, 11)]


class Table:
    """A database that has the products of ROWS, or an error; ``gate`` holds back whoever asks."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def close(self):
        """A test has no connection to give back."""

    def query(self, statement, parameters):
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return [row for row in ROWS if row[0] > parameters[0]][:4]


@pytest.fixture
def switch(set_flags):
    return Switch(set_flags(), "orders.catalogue", "columnar")


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def loader(switch, table, monkeypatch):
    monkeypatch.setattr(flag_follower, "RETRY_SECONDS", 0.02)
    loader = CatalogueLoader(table, switch)
    yield loader
    table.gate.set()
    loader.follower.stop()


def pending():
    return REGISTRY.get_sample_value("costlab_flag_pending", {"flag": "orders.catalogue"})


def in_force():
    count = {name: REGISTRY.get_sample_value("costlab_catalogue_processes", {"layout": name}) for name in LAYOUTS}
    return [name for name, processes in count.items() if processes]


def test_the_layout_follows_the_flag(loader, switch):
    loader.follower.start()
    for layout in [*LAYOUTS, "columnar"]:
        switch.set(layout)
        eventually(lambda: pending() == 0)
        assert type(loader.catalogue()) is LAYOUTS[layout]
        assert in_force() == [layout]
        assert [loader.catalogue().get(row[0])["name"] for row in ROWS] == [row[1] for row in ROWS]


def test_the_first_layout_is_the_one_the_flag_says_at_the_start(loader, switch):
    switch.set("slots")
    loader.follower.start()
    eventually(lambda: pending() == 0)
    assert type(loader.catalogue()) is LAYOUTS["slots"]


def test_the_old_layout_answers_until_the_new_one_is_complete_and_is_freed_then(loader, switch, table):
    loader.follower.start()
    eventually(lambda: pending() == 0)
    old = weakref.ref(loader.catalogue())
    table.gate.clear()
    switch.set("dict_per_row")
    assert pending() == 1
    assert loader.catalogue().get(3)["name"] == "name 3"
    assert in_force() == ["columnar"]
    table.gate.set()
    eventually(lambda: pending() == 0)
    gc.collect()
    assert old() is None


def test_a_flag_that_changes_while_a_layout_is_built_has_the_last_word(loader, switch, table):
    loader.follower.start()
    eventually(lambda: pending() == 0)
    table.gate.clear()
    switch.set("slots")
    switch.set("class")
    switch.set("struct_ordered")
    table.gate.set()
    eventually(lambda: pending() == 0)
    assert type(loader.catalogue()) is LAYOUTS["struct_ordered"]


@pytest.mark.parametrize(
    "error", [psycopg2.OperationalError("the table is locked"), Unavailable("away"), ValueError("odd"), MemoryError()]
)
def test_a_layout_that_cannot_be_built_leaves_the_old_one_and_is_tried_again(loader, switch, table, error, caplog):
    loader.follower.start()
    eventually(lambda: pending() == 0)
    table.error = error
    switch.set("slots")
    eventually(lambda: caplog.text.count("flag.not_in_force") > 1)
    assert loader.catalogue().get(3)["name"] == "name 3"
    assert pending() == 1
    table.error = None
    eventually(lambda: pending() == 0)
    assert type(loader.catalogue()) is LAYOUTS["slots"]


def test_until_the_first_is_loaded_the_service_is_not_ready_and_says_why(loader, table):
    with pytest.raises(Unavailable, match="still being loaded"):
        loader.check()
    table.error = ValueError("products come in the order of their ids")
    loader.follower.start()
    eventually(lambda: "could not be loaded: products come in the order" in str(_reason(loader)))
    table.error = None
    eventually(lambda: _reason(loader) is None)


def _reason(loader):
    try:
        loader.check()
    except Unavailable as reason:
        return reason
    return None


def test_a_catalogue_that_was_preloaded_is_not_loaded_again(loader, table):
    loader.preload()
    table.error = psycopg2.OperationalError("nobody may ask again")
    loader.follower.start()
    eventually(lambda: pending() == 0)
    assert len(loader.catalogue()) == len(ROWS)
    assert in_force() == ["columnar"]


def test_a_catalogue_that_could_not_be_preloaded_is_loaded_by_each_process(loader, table):
    table.error = psycopg2.OperationalError("not yet")
    loader.preload()
    table.error = None
    loader.follower.start()
    eventually(lambda: pending() == 0)
    assert len(loader.catalogue()) == len(ROWS)
