"""The index of histories follows its flag: whatever was there before, whoever dies, one process at a time."""

import psycopg2
import pytest
from prometheus_client import REGISTRY

from costlab.service.database import Database
from costlab.service.tracing import Tracing
from services.orders import flag_follower, history_index
from services.orders.history_index import HistoryIndex
from tests.conditions import eventually
from tests.services.orders.switch import Switch

LINES = [{"product_id": 5, "quantity": 1, "price_cents": 100}]
VALID = "select indisvalid from pg_index where indexrelid = to_regclass('orders.orders_history')"


@pytest.fixture
def switch(set_flags):
    return Switch(set_flags(), "orders.index", "on")


@pytest.fixture
def start(database, switch):
    """``start()``: one more process that follows the flag. The index is back when the test ends."""
    kit = Database(database.url("orders"), switch, Tracing("orders", switch, None), "tests")
    started = []

    def one():
        started.append(HistoryIndex(kit, switch))
        started[-1].follower.start()
        return started[-1]

    yield one
    switch.set("on")
    if started:
        eventually(settled, within=30)
    for index in started:
        index.follower.stop()
    kit.close()
    assert database.rows(VALID) == [(True,)]


def pending():
    return REGISTRY.get_sample_value("costlab_flag_pending", {"flag": "orders.index"})


def settled():
    return pending() == 0


def test_the_index_goes_and_comes_back_with_the_flag(database, switch, start):
    start()
    eventually(settled, within=30)
    for value, rows in (("off", []), ("on", [(True,)]), ("off", [])):
        switch.set(value)
        assert pending() == 1
        eventually(settled, within=30)
        assert database.rows(VALID) == rows
        assert REGISTRY.get_sample_value("costlab_orders_index") == len(rows)


def test_it_comes_back_as_the_migration_made_it(database, switch, start):
    definition = "select indexdef from pg_indexes where indexname = 'orders_history'"
    before = database.one(definition)
    start()
    switch.set("off")
    eventually(settled, within=30)
    switch.set("on")
    eventually(settled, within=30)
    assert database.one(definition) == before


def test_a_process_that_starts_makes_the_index_what_the_flag_says(database, switch, start):
    switch.set("off")
    start()
    eventually(lambda: database.rows(VALID) == [], within=30)
    eventually(settled, within=30)


def test_an_index_left_invalid_is_dropped_and_built_again(database, start):
    database.rows("update pg_index set indisvalid = false where indexrelid = 'orders.orders_history'::regclass")
    start()
    eventually(lambda: database.rows(VALID) == [(True,)], within=30)


def test_while_another_process_has_the_lock_nothing_is_touched(database, switch, start):
    with database.connect() as other, other.cursor() as statements:
        statements.execute("select pg_advisory_lock(%s)", [history_index._LOCK])
        start()
        switch.set("off")
        tried = "select true from pg_stat_activity where application_name = 'tests' and query like %s"
        eventually(lambda: database.rows(tried, "%pg_try_advisory_lock%") != [])
        assert database.rows(VALID) == [(True,)]
        assert pending() == 1
    eventually(settled, within=30)
    assert database.rows(VALID) == []


def test_three_processes_agree(database, switch, start):
    indexes = [start() for _ in range(3)]
    for value in ("off", "on", "off", "on"):
        switch.set(value)
    eventually(lambda: {index.follower.in_force for index in indexes} == {"on"}, within=30)
    assert database.rows(VALID) == [(True,)]


def test_a_transaction_that_stays_open_delays_the_build_but_stops_no_writer(database, switch, start, store):
    start()
    switch.set("off")
    eventually(settled, within=30)
    with database.connect("orders") as open_ended, open_ended.cursor() as statements:
        open_ended.autocommit = False
        statements.execute("update orders set status = status where id = 1")
        switch.set("on")
        eventually(lambda: database.rows(VALID) == [(False,)], within=30)
        assert store.add(77, LINES, None)["user_id"] == 77
        assert pending() == 1
        open_ended.commit()
    eventually(settled, within=30)
    assert database.rows(VALID) == [(True,)]


def test_histories_are_the_same_with_and_without_it(switch, start, store):
    start()
    eventually(settled, within=30)
    users = [1, 77, 5000, 10_001]
    before = [store.history(user, 20, None) for user in users]
    switch.set("off")
    eventually(settled, within=30)
    assert [store.history(user, 20, None) for user in users] == before


def test_a_database_that_is_away_is_tried_again(switch, monkeypatch, start, caplog):
    index = start()
    eventually(settled, within=30)

    class Away:
        def dedicated(self):
            raise psycopg2.OperationalError("the database is away")

    monkeypatch.setattr(flag_follower, "RETRY_SECONDS", 0.05)
    there, index._database = index._database, Away()
    switch.set("off")
    eventually(lambda: caplog.text.count("flag.not_in_force") > 1)
    assert pending() == 1
    index._database = there
    eventually(settled, within=30)
