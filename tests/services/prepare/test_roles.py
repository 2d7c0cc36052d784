"""Roles: each service reaches its own schema and nobody else's."""

import psycopg2
import pytest

from services.roles import GUESTS, OWNERS

TABLES = ("users.users", "orders.orders", "orders.idempotency_keys")
STRANGERS = [(role, table) for role in (*OWNERS, *GUESTS) for table in TABLES if not table.startswith(f"{role}.")]


@pytest.mark.parametrize(("role", "table"), STRANGERS)
def test_nobody_reads_another_services_tables(database, role, table):
    with (
        database.connect(role) as link,
        link.cursor() as statements,
        pytest.raises(psycopg2.errors.InsufficientPrivilege),
    ):
        statements.execute(f"select from {table}")


@pytest.mark.parametrize("role", [*OWNERS, *GUESTS])
def test_nobody_makes_tables_in_the_shared_schema(database, role):
    with (
        database.connect(role) as link,
        link.cursor() as statements,
        pytest.raises(psycopg2.errors.InsufficientPrivilege),
    ):
        statements.execute("create table public.mine (x int)")


@pytest.mark.parametrize("role", OWNERS)
def test_a_service_works_in_its_own_schema_without_naming_it(database, role):
    with database.connect(role) as link, link.cursor() as statements:
        statements.execute("select current_schema()")
        assert statements.fetchone() == (role,)


def test_the_relay_reaches_the_outbox_and_nothing_else(database):
    with database.connect("orders_relay") as link, link.cursor() as statements:
        statements.execute("select count(*) from outbox")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            statements.execute("select from orders")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            statements.execute("update outbox set payload = ''")


def test_the_lab_reads_statistics_of_statements(database):
    with database.connect("lab") as link, link.cursor() as statements:
        statements.execute("select count(*) from pg_stat_activity where query is not null")
        if not database.rows("select 1 from pg_extension where extname = 'pg_stat_statements'"):
            pytest.skip("this PostgreSQL was started without pg_stat_statements")
        statements.execute("select pg_stat_statements_reset()")
        statements.execute("select count(*) from pg_stat_statements")
