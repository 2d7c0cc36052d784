"""What the probes make of two readings."""

import threading
from contextlib import closing

import psycopg2
import pytest

from costlab.lab import state
from costlab.lab.errors import LabError
from costlab.lab.probes import counters, machine, orders, sockets
from costlab.lab.probes.database import DatabaseProbe, Seen
from costlab.lab.probes.link import Link
from costlab.lab.probes.orders import OrdersProbe
from costlab.stack.control import ControlError
from tests.unit.lab import synthetic


def test_a_counter_that_fell_was_started_anew():
    assert counters.rise({"a": 5.0, "b": 5.0}, {"a": 7.0, "b": 2.0, "c": 1.0}) == {"a": 2.0, "b": 2.0, "c": 1.0}


def test_only_counters_of_ours_are_read():
    class Control:
        def metrics(self, service):
            return [
                ("costlab_cache_requests_total", {"outcome": "hit"}, 3.0),
                ("costlab_connection_wait_seconds_sum", {"peer": "users"}, 0.5),
                ("costlab_connection_wait_seconds_bucket", {"peer": "users", "le": "0.1"}, 4.0),
                ("costlab_flags_revision", {}, 9.0),
                ("python_gc_objects_collected_total", {}, 1.0),
            ]

    assert counters.read(Control(), ["cache-proxy"]) == {
        'cache-proxy costlab_cache_requests_total{outcome="hit"}': 3.0,
        'cache-proxy costlab_connection_wait_seconds_sum{peer="users"}': 0.5,
    }


def test_counters_of_all_instances_of_a_service_are_added_up():
    rises = {"users x_total": 1.0, "users-2 x_total": 2.0, 'users-3 x_total{a="b"}': 4.0, "cache-proxy x_total": 8.0}
    added = {"users x_total": 3.0, 'users x_total{a="b"}': 4.0, "cache-proxy x_total": 8.0}
    assert counters.by_service(rises) == added


class Killed:
    """A service that answers again at the third attempt."""

    def __init__(self):
        self.asked = 0

    def metrics(self, service):
        self.asked += 1
        if self.asked < 3:
            raise ControlError("no stack answers")
        return [("costlab_retries_total", {}, 1.0)]


def test_a_service_that_was_killed_in_the_block_is_waited_for(monkeypatch):
    monkeypatch.setattr(counters, "_TICK_SECONDS", 0)
    assert counters.read(Killed(), ["users"]) == {"users costlab_retries_total": 1.0}


def test_a_service_that_does_not_come_back_is_an_error(monkeypatch):
    monkeypatch.setattr(counters, "BACK_SECONDS", 0)
    with pytest.raises(ControlError):
        counters.read(Killed(), ["users"])


def test_a_database_that_was_restarted_is_connected_to_again(postgres_url):
    with closing(Link(postgres_url, "postgres")) as link, closing(psycopg2.connect(postgres_url)) as other:
        [(pid,)] = link.rows("select pg_backend_pid()")
        with other.cursor() as statements:
            statements.execute("select pg_terminate_backend(%s)", [pid])
        assert link.rows("select pg_backend_pid()") != [(pid,)]


def test_totals_that_a_crash_of_the_server_has_lost_begin_anew(postgres_url):
    with closing(DatabaseProbe(postgres_url)) as probe:
        probe.source, probe.note = "pg_stat_statements", ""
        before, after = {("users", 1, True): Seen("select", 90, 1.0)}, {("users", 1, True): Seen("select", 7, 0.5)}
        assert probe.queries(before, after, {}).by_role == {"users": 7}


def test_a_counter_of_a_block_is_summed_over_services_and_labels():
    block = synthetic.block(
        1, "ttl", counters={'a x_total{outcome="hit"}': 2.0, 'b x_total{outcome="miss"}': 3.0, "b xy_total": 7.0}
    )
    assert (block.counter("x_total"), block.counter("x_total", outcome="hit")) == (5.0, 2.0)


def totals(at, busy, steal=None, stalled=0.0):
    return machine.Totals(at=at, all=at * 2, idle=at * 2 - busy, steal=steal, stalled={"cpu": stalled})


def test_shares_of_the_machine_are_of_all_cores():
    seen = machine.between(totals(0, 0, 0.0), totals(10, 15, 1.0, stalled=4.0))
    assert (seen.busy, seen.steal, seen.cpu_pressure) == pytest.approx((0.75, 0.05, 0.4))


def test_what_the_kernel_does_not_tell_is_none():
    seen = machine.between(totals(0, 0), totals(10, 15))
    assert (seen.steal, seen.memory_pressure, seen.generator) == (None, None, None)


def test_this_machine_can_be_read():
    first = machine.read()
    assert machine.between(first, machine.read()).generator is None


def test_only_what_requests_caused_counts(postgres_url):
    with closing(DatabaseProbe(postgres_url)) as probe:
        probe.source, probe.note = "pg_stat_statements", ""
        before = {("users", 1, True): Seen("select name", 10, 1.0)}
        after = {
            ("users", 1, True): Seen("select name", 17, 1.5),
            ("orders", 2, True): Seen("insert into orders", 3, 0.1),
            ("orders_relay", 3, True): Seen("select from outbox", 50, 0.1),
            ("users", 4, True): Seen("select $1", 20, 0.1),
        }
        queries = probe.queries(before, after, {})
    assert (queries.by_role, queries.excluded) == ({"users": 7, "orders": 3}, 70)
    assert [(one.text, one.calls) for one in queries.statements] == [("select name", 7), ("insert into orders", 3)]


def test_postgres_counts_exactly_the_statements_that_were_sent(postgres_url):
    with closing(psycopg2.connect(postgres_url)) as link, link.cursor() as statements:
        link.autocommit = True
        try:
            statements.execute("create extension if not exists pg_stat_statements")
        except psycopg2.errors.FeatureNotSupported:
            pytest.skip("this PostgreSQL has no pg_stat_statements; a system PostgreSQL with contrib has")
        statements.execute("select rolname from pg_roles where rolname = 'users'")
        made = not statements.fetchone()
        if made:
            statements.execute("create role users")
        try:
            with closing(DatabaseProbe(postgres_url)) as probe:
                before = probe.read()
                statements.execute("set pg_stat_statements.track_utility = off")
                statements.execute("set role users")
                for i in range(7):
                    statements.execute("select %s + 40", [i])
                statements.execute("reset role")
                queries = probe.queries(before, probe.read(), {})
        finally:
            if made:
                statements.execute("drop role users")
    assert queries.by_role == {"users": 7}
    assert queries.source == "pg_stat_statements"


def test_without_the_extension_the_services_own_count_stands_in_and_says_so(postgres_url):
    with closing(psycopg2.connect(postgres_url)) as link, link.cursor() as statements:
        link.autocommit = True
        statements.execute("drop database if exists lab_without_statistics")
        statements.execute("create database lab_without_statistics")
    try:
        with closing(DatabaseProbe(postgres_url.replace("/costlab", "/lab_without_statistics"))) as probe:
            rise = {
                "users costlab_db_queries_total": 3.0,
                "users-2 costlab_db_queries_total": 2.0,
                "orders costlab_db_queries_total": 0.0,
                "users x_total": 3.0,
            }
            queries = probe.queries(probe.read(), probe.read(), rise)
    finally:
        with closing(psycopg2.connect(postgres_url)) as link, link.cursor() as statements:
            link.autocommit = True
            statements.execute("drop database lab_without_statistics")
    assert (queries.by_role, queries.source) == ({"users": 5}, "costlab_db_queries_total")
    assert "pg_stat_statements is not there" in queries.note


def test_a_database_that_is_not_there_is_one_clear_error():
    with pytest.raises(LabError, match="PostgreSQL cannot be reached as role lab") as caught:
        DatabaseProbe("postgresql://lab:x@127.0.0.1:1/costlab")
    assert "\n" not in str(caught.value)


def test_emptying_the_cache_touches_nothing_else(redis, redis_url):
    redis.mset({f"cache:entry:/users/{i}": "x" for i in range(2500)} | {"costlab:flags:revision": 1})
    assert state.empty_cache(redis_url) == 2500
    assert redis.keys() == [b"costlab:flags:revision"]


def test_a_redis_that_is_not_there_is_one_clear_error():
    with pytest.raises(LabError, match="the cache cannot be emptied"):
        state.empty_cache("redis://127.0.0.1:1/0")


def process(proc, pid, namespace, waiting):
    folder = proc / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "net").mkdir()
    (folder / "ns" / "net").symlink_to(namespace)
    (folder / "net" / "sockstat").write_text(f"sockets: used 9\nTCP: inuse 5 orphan 0 tw {waiting} alloc 6 mem 1\n")


def test_sockets_in_time_wait_count_once_in_each_network(tmp_path):
    for pid, namespace, waiting in ((1, "net:[7]", 40), (2, "net:[7]", 40), (3, "net:[8]", 2)):
        process(tmp_path, pid, namespace, waiting)
    assert sockets.time_wait([1, 2, 3, 99], tmp_path) == 42
    assert sockets.time_wait([99], tmp_path) is None


@pytest.fixture
def shop(postgres_url):
    """The tables of orders and worker, empty, and a way to fill them."""
    with closing(psycopg2.connect(postgres_url)) as link, link.cursor() as statements:
        link.autocommit = True
        statements.execute("drop database if exists lab_orders")
        statements.execute("create database lab_orders")
    url = postgres_url.replace("/costlab", "/lab_orders")
    with closing(psycopg2.connect(url)) as link, link.cursor() as statements, closing(OrdersProbe(url)) as probe:
        link.autocommit = True
        statements.execute("create schema orders create table orders (id bigint primary key)")
        statements.execute("create schema worker create table fulfilments (order_id bigint unique)")

        def place(orders, fulfilled):
            statements.execute("insert into orders.orders select unnest(%s)", [orders])
            statements.execute("insert into worker.fulfilments select unnest(%s::bigint[])", [fulfilled])

        yield probe, place


def test_an_order_without_its_fulfilment_is_lost_once_nothing_moves_any_more(shop, monkeypatch):
    monkeypatch.setattr(orders, "PATIENCE_SECONDS", 0.3)
    probe, place = shop
    place([1, 2], [1])
    last = probe.last()
    assert probe.since(last) == (0, 0)
    place([3, 4, 5], [3, 5])
    assert (last, probe.since(last)) == (2, (3, 1))


def test_fulfilments_that_come_late_are_waited_for(shop):
    probe, place = shop
    place([1, 2], [])
    timer = threading.Timer(0.5, place, ([3], [1, 2, 3]))
    timer.start()
    assert probe.since(0) == (3, 0)
    timer.join()
