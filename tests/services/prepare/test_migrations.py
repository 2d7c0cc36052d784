"""Migrations: plain SQL, in order, once, all of a file or nothing of it."""

from contextlib import closing

import psycopg2
import pytest

from services import migrations, roles
from services.migrations import MigrationError


@pytest.fixture
def link(fresh_database_url):
    with closing(psycopg2.connect(fresh_database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as statements:
            roles.establish(statements, "costlab")
        yield connection


@pytest.fixture
def folder(tmp_path):
    """``folder("0001_a.sql", "create ...")`` writes a migration and returns the folder."""

    def write(name, statements):
        (tmp_path / name).write_text(statements)
        return tmp_path

    return write


def apply(link, folder):
    return migrations.apply(link, "users", migrations.read(folder))


def rows(link, statement):
    with link.cursor() as statements:
        statements.execute(statement)
        return statements.fetchall()


def test_each_migration_is_applied_once_and_in_order(link, folder):
    folder("0002_b.sql", "insert into a values (1);")
    path = folder("0001_a.sql", "create table a (x int);")
    assert apply(link, path) == ["0001_a.sql", "0002_b.sql"]
    assert apply(link, path) == []
    assert rows(link, "select x from users.a") == [(1,)]


def test_a_later_migration_is_applied_alone(link, folder):
    assert apply(link, folder("0001_a.sql", "create table a (x int);")) == ["0001_a.sql"]
    assert apply(link, folder("0002_b.sql", "create table b (x int);")) == ["0002_b.sql"]


def test_what_a_migration_makes_belongs_to_the_role_of_the_service(link, folder):
    apply(link, folder("0001_a.sql", "create table a (x int);"))
    assert rows(link, "select tableowner from pg_tables where schemaname = 'users' and tablename = 'a'") == [("users",)]


def test_a_migration_cannot_reach_another_services_schema(link, folder):
    with pytest.raises(MigrationError, match="permission denied for schema orders"):
        apply(link, folder("0001_a.sql", "create table orders.a (x int);"))


def test_a_migration_that_fails_leaves_nothing_behind_and_can_be_mended(link, folder):
    path = folder("0001_a.sql", "create table a (x int); select 1 / 0;")
    with pytest.raises(MigrationError, match=r"users/0001_a\.sql failed and was undone: division by zero"):
        apply(link, path)
    assert rows(link, "select from pg_tables where schemaname = 'users'") == []
    folder("0001_a.sql", "create table a (x int);")
    assert apply(link, path) == ["0001_a.sql"]


def test_an_applied_migration_that_was_edited_is_refused(link, folder):
    apply(link, folder("0001_a.sql", "create table a (x int);"))
    path = folder("0001_a.sql", "create table a (x bigint);")
    with pytest.raises(MigrationError, match=r"0001_a\.sql was edited after it was applied"):
        apply(link, path)


def test_a_database_from_a_newer_version_is_refused(link, folder):
    path = folder("0001_a.sql", "create table a (x int);")
    apply(link, path)
    (path / "0001_a.sql").unlink()
    with pytest.raises(MigrationError, match=r"0001_a\.sql, which this version does not know"):
        apply(link, path)


@pytest.mark.parametrize("name", ["1_a.sql", "0001-a.sql", "0001_A.sql", "a.sql"])
def test_a_name_out_of_form_is_refused(folder, name):
    with pytest.raises(MigrationError, match=r"named like 0001_what_it_does\.sql"):
        migrations.read(folder(name, "select 1;"))


def test_a_gap_in_the_numbers_is_refused(folder):
    folder("0001_a.sql", "select 1;")
    with pytest.raises(MigrationError, match="expected number 0002"):
        migrations.read(folder("0003_c.sql", "select 1;"))


def test_two_migrations_with_one_number_are_refused(folder):
    folder("0001_a.sql", "select 1;")
    with pytest.raises(MigrationError, match="expected number 0002"):
        migrations.read(folder("0001_b.sql", "select 1;"))


def test_a_service_without_migrations_has_none(tmp_path):
    assert migrations.read(tmp_path / "nowhere") == []
