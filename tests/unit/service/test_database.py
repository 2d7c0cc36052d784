"""PostgreSQL through the kit: counted, bounded in time, healed after a dropped connection, all or nothing."""

import socket
import threading
import time
from contextlib import contextmanager

import psycopg2
import pytest

from costlab.service import context, metrics
from costlab.service.database import Database
from costlab.service.problem import Unavailable
from costlab.service.tracing import Tracing


@pytest.fixture
def open_database(postgres_url, set_flags):
    opened = []

    def make(url=postgres_url, **values):
        flags = set_flags(**values)
        opened.append(Database(url, flags, Tracing("test", flags, None), "test"))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


def queries() -> float:
    return metrics.REGISTRY.get_sample_value("costlab_db_queries_total") or 0


def backends(database) -> list[int]:
    return [row[0] for row in database.query("select pid from pg_stat_activity where application_name = 'test'")]


def test_a_query_returns_its_rows_and_is_counted_once(open_database):
    database = open_database()
    before = queries()
    assert database.query("select 1, %s", ["x"]) == [(1, "x")]
    assert queries() == before + 1


def test_a_readiness_probe_is_not_counted_as_a_statement(open_database):
    """It comes when the prober likes, an engine's health check too: a count per request must not depend on it."""
    database = open_database()
    before = queries()
    database.ping()
    assert queries() == before


def test_a_statement_without_rows_returns_none_of_them(open_database):
    assert open_database().query("create temporary table t (a int)") == []


def test_a_transaction_takes_effect_as_a_whole(open_database):
    database = open_database()
    with database.transaction() as cursor:
        cursor.execute("create table whole (a int)")
        cursor.execute("insert into whole values (1), (2)")
    assert database.query("select count(*) from whole") == [(2,)]


def test_a_transaction_that_raises_leaves_nothing(open_database):
    database = open_database()
    database.query("create table nothing (a int)")

    def half_done():
        with database.transaction() as cursor:
            cursor.execute("insert into nothing values (1)")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_done()
    assert database.query("select count(*) from nothing") == [(0,)]


def test_a_constraint_that_is_broken_is_the_callers_to_see(open_database):
    database = open_database()
    database.query("create table one (a int unique)")
    database.query("insert into one values (1)")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        database.query("insert into one values (1)")
    assert database.query("select count(*) from one") == [(1,)]


def test_a_pooled_connection_serves_query_after_query(open_database):
    database = open_database(**{"db.pool": 2})
    assert database.query("select pg_backend_pid()") == database.query("select pg_backend_pid()")


def test_without_a_pool_every_query_has_a_connection_of_its_own(open_database):
    database = open_database(**{"db.pool": "none"})
    assert database.query("select pg_backend_pid()") != database.query("select pg_backend_pid()")


def test_a_query_survives_that_its_pooled_connection_was_dropped(open_database, postgres_url):
    database = open_database()
    pid = database.query("select pg_backend_pid()")[0][0]
    killer = open_database(postgres_url)
    killer.query("select pg_terminate_backend(%s, 5000)", [pid])
    assert database.query("select 1") == [(1,)]


def test_a_transaction_is_not_begun_on_a_connection_that_was_dropped(open_database):
    """As after a restart of PostgreSQL, when every connection of the pool is dead and nobody has noticed yet."""
    database = open_database()
    pid = "select pg_backend_pid()"
    with database.transaction() as one, database.transaction() as other:
        one.execute(pid)
        other.execute(pid)
        pids = [one.fetchone()[0], other.fetchone()[0]]
    for each in pids:
        open_database().query("select pg_terminate_backend(%s, 5000)", [each])
    with database.transaction() as one, database.transaction() as other:
        one.execute(pid)
        other.execute(pid)
        assert not {one.fetchone()[0], other.fetchone()[0]} & set(pids)


def test_a_transaction_that_has_begun_is_not_repeated_when_its_connection_drops(open_database):
    database, begun = open_database(), []
    database.query("create table begun (a int)")

    def dropped_halfway():
        with database.transaction() as cursor:
            begun.append(1)
            cursor.execute("insert into begun values (1)")
            cursor.execute("select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(Unavailable, match="cannot be reached"):
        dropped_halfway()
    assert begun == [1]
    assert database.query("select count(*) from begun") == [(0,)]


def test_a_database_that_is_away_is_a_503_that_says_when_to_come_back(open_database):
    with pytest.raises(Unavailable, match="cannot be reached") as refused:
        open_database("postgresql://nobody@127.0.0.1:1/none").query("select 1")
    assert refused.value.headers == {"Retry-After": "1"}


@contextmanager
def a_request_of(seconds):
    """The block is a request that has ``seconds`` left; whatever it waits for, it has ended long before LATE."""
    started = time.monotonic()
    context.enter(context.Request("id", deadline=started + seconds))
    try:
        yield
    finally:
        context.enter(None)
    assert time.monotonic() - started < LATE


# Statements that are to be cut off would take this long.
LATE = 8


def test_waiting_for_a_connection_ends_with_the_requests_deadline(open_database):
    database = open_database(**{"db.pool": 1})
    refused = pytest.raises(Unavailable, match="No database connection came free")
    with database.transaction(), a_request_of(0.05), refused:
        database.query("select 1")


def test_a_statement_that_outlasts_the_request_is_cut_off_and_the_next_one_is_answered(open_database):
    database = open_database()
    database.query("select 1")
    with a_request_of(0.3), pytest.raises(Unavailable, match="did not answer in time"):
        database.query("select pg_sleep(%s)", [LATE])
    assert database.query("select 1") == [(1,)]


def test_a_commit_that_outlasts_the_request_is_cut_off(open_database):
    database = open_database()
    database.query("create table slow (a int)")
    database.query(
        f"create function slow() returns trigger language plpgsql as 'begin perform pg_sleep({LATE}); return null; end'"
    )
    database.query(
        "create constraint trigger slow after insert on slow deferrable initially deferred "
        "for each row execute function slow()"
    )
    late = pytest.raises(Unavailable, match="did not answer in time")
    with a_request_of(0.5), late, database.transaction() as statements:
        statements.execute("insert into slow values (1)")
    assert database.query("select 1") == [(1,)]


def test_a_server_that_takes_connections_and_says_nothing_holds_nobody_beyond_the_deadline(open_database):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = open_database(f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none")
        with a_request_of(0.2), pytest.raises(Unavailable, match="did not answer in time"):
            database.query("select 1")


def test_no_more_connects_are_under_way_than_the_pool_has_places_however_many_requests_give_up(open_database):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = open_database(f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none", **{"db.pool": 2})
        said = []
        for _ in range(5):
            with a_request_of(0.05), pytest.raises(Unavailable) as refused:
                database.query("select 1")
            said.append(refused.value.detail)
        assert ["did not answer in time" in detail for detail in said] == [True, True, False, False, False]
        assert all("No database connection came free" in detail for detail in said[2:])
        silent.settimeout(10)
        waiting = [silent.accept()[0] for _ in range(2)]
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()
        for each in waiting:
            each.close()


def test_a_connection_that_comes_too_late_for_one_request_serves_the_next(open_database, monkeypatch):
    really, answers, connects = Database._connect, threading.Event(), []

    def once_it_answers(self):
        connects.append(1)
        answers.wait(10)
        return really(self)

    monkeypatch.setattr(Database, "_connect", once_it_answers)
    database = open_database(**{"db.pool": 1})
    with a_request_of(0.05), pytest.raises(Unavailable, match="did not answer in time"):
        database.query("select 1")
    answers.set()
    assert database.query("select 1") == [(1,)]
    assert len(connects) == 1


def test_a_request_whose_time_is_over_sends_nothing(open_database):
    database = open_database()
    database.query("create table late (a int)")
    with a_request_of(0), pytest.raises(Unavailable, match="did not answer in time"):
        database.query("insert into late values (1)")
    assert database.query("select count(*) from late") == [(0,)]


def test_what_must_not_take_effect_twice_is_sent_again_only_if_the_connection_was_known_to_be_dead(
    open_database, monkeypatch
):
    database, killer = open_database(), open_database()
    database.query("create table twice (a int)")
    insert = "insert into twice values (1)"
    killer.query("select pg_terminate_backend(%s, 5000)", [database.query("select pg_backend_pid()")[0][0]])
    database.query(insert, again=False)
    assert database.query("select count(*) from twice") == [(1,)]

    really = Database._rows

    def answer_is_lost(self, link, *arguments):
        really(self, link, *arguments)
        raise psycopg2.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(Database, "_rows", answer_is_lost)
    with pytest.raises(Unavailable, match="cannot be reached"):
        database.query(insert, again=False)
    monkeypatch.undo()
    assert database.query("select count(*) from twice") == [(2,)]
