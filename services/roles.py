"""Database roles: each service owns the schema of its name and nothing else, and nobody reads another's tables.

users, orders, worker   own the schema of their name
orders_relay            publishes the outbox; a migration of orders grants it that table
lab                     reads statistics of the server (never rows) and may reset them
"""

from psycopg2 import sql
from psycopg2.extensions import cursor

OWNERS = ("users", "orders", "worker")
# A role without a schema of its own, and the schema it works in.
GUESTS = {"orders_relay": "orders", "lab": "public"}
STATISTICS = "pg_stat_statements"


def establish(statements: cursor, password: str) -> None:
    """Make the database have exactly these roles, schemas and rights; safe to run again."""
    statements.execute("revoke all on schema public from public")
    statements.execute("select current_database()")
    database = sql.Identifier(statements.fetchone()[0])
    statements.execute(sql.SQL("revoke all on database {} from public").format(database))
    schemas = {role: role for role in OWNERS} | GUESTS
    for role, schema in schemas.items():
        _role(statements, role, schema, password)
        _run(statements, "grant connect on database {} to {}", database, sql.Identifier(role))
    for owner in OWNERS:
        _run(statements, "create schema if not exists {} authorization {}", *[sql.Identifier(owner)] * 2)
    # It stages the rows of a COPY (services/worker/writes/copy.py).
    _run(statements, "grant temporary on database {} to worker", database)
    _statistics(statements)


def _role(statements: cursor, role: str, schema: str, password: str) -> None:
    name = sql.Identifier(role)
    statements.execute("select from pg_roles where rolname = %s", [role])
    if not statements.rowcount:
        _run(statements, "create role {}", name)
    _run(statements, "alter role {} login password {}", name, sql.Literal(password))
    _run(statements, "alter role {} set search_path to {}", name, sql.Identifier(schema))
    _run(statements, "alter role {} set timezone to 'UTC'", name)


def _statistics(statements: cursor) -> None:
    """Statement statistics for ``lab``, where the server was started with them."""
    statements.execute("grant pg_read_all_stats to lab")
    statements.execute("grant usage on schema public to lab")
    statements.execute("select current_setting('shared_preload_libraries')")
    if STATISTICS not in statements.fetchone()[0]:
        return
    _run(statements, "create extension if not exists {} schema public", sql.Identifier(STATISTICS))
    # The function's parameters differ between versions of PostgreSQL.
    statements.execute("select oid::regprocedure::text from pg_proc where proname = 'pg_stat_statements_reset'")
    for (function,) in statements.fetchall():
        _run(statements, "grant execute on function {} to lab", sql.SQL(function))


def _run(statements: cursor, statement: str, *parts: sql.Composable) -> None:
    statements.execute(sql.SQL(statement).format(*parts))
