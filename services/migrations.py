"""Schema migrations: plain SQL files, numbered, each applied once and in order.

Example: ``services/users/migrations/0001_users.sql`` runs as role ``users`` and is recorded with its SHA-256 in
``users.schema_migrations``, both in one transaction: a file that fails leaves nothing behind.

Trade-off: no generated diffs and no way back. A change is one more file; undoing it is another one.
Use instead: Alembic, when models are declared in SQLAlchemy and migrations should be derived from them.

The caller holds an advisory lock, so two runs at once do not meet here (services/prepare.py).
Errors: MigrationError for SQL that fails and for a folder and a database that contradict each other.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection, cursor

from costlab.failure import Failure

_NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
_RECORDS = """
create table if not exists schema_migrations (
    name text primary key,
    checksum text not null,
    applied_at timestamptz not null default now()
)"""


class MigrationError(Failure):
    """A migration failed, or those in the folder and those in the database contradict each other."""


@dataclass(frozen=True)
class Migration:
    """One file: its name, its SQL and the SHA-256 of it."""

    name: str
    statements: str
    checksum: str


def read(folder: Path) -> list[Migration]:
    """The migrations of ``folder`` in order; none when there is no such folder."""
    migrations = [_read(path) for path in sorted(folder.glob("*.sql"))]
    for number, migration in enumerate(migrations, start=1):
        if int(migration.name[:4]) != number:
            raise MigrationError(f"{folder / migration.name}: expected number {number:04}; numbers run from 0001")
    return migrations


def apply(link: connection, role: str, migrations: list[Migration]) -> list[str]:
    """Apply what is not applied yet, as ``role`` and in its schema; the names of what was applied.

    ``link`` is in autocommit mode and may become ``role``, whose schema has the same name.
    """
    with link.cursor() as statements:
        applied = _applied(statements, role)
    _check(role, migrations, applied)
    pending = migrations[len(applied) :]
    for migration in pending:
        _apply(link, role, migration)
    return [migration.name for migration in pending]


def _read(path: Path) -> Migration:
    if not _NAME.fullmatch(path.name):
        raise MigrationError(f"{path}: a migration is named like 0001_what_it_does.sql")
    content = path.read_bytes()
    return Migration(path.name, content.decode(), hashlib.sha256(content).hexdigest())


def _applied(statements: cursor, role: str) -> list[tuple[str, str]]:
    statements.execute("select to_regclass(%s)", [f"{role}.schema_migrations"])
    if statements.fetchone() == (None,):
        return []
    table = sql.Identifier(role, "schema_migrations")
    statements.execute(sql.SQL("select name, checksum from {} order by name").format(table))
    return statements.fetchall()


def _check(role: str, migrations: list[Migration], applied: list[tuple[str, str]]) -> None:
    for position, (name, checksum) in enumerate(applied):
        known = migrations[position] if position < len(migrations) else None
        if known is None or known.name != name:
            raise MigrationError(
                f"schema {role} has migration {name}, which this version does not know at that place: "
                "it was prepared by another version; use that version or a fresh database"
            )
        if known.checksum != checksum:
            raise MigrationError(
                f"schema {role}: migration {name} was edited after it was applied; "
                "put it back and write the change as a new migration"
            )


def _apply(link: connection, role: str, migration: Migration) -> None:
    link.autocommit = False
    try:
        with link, link.cursor() as statements:
            name = sql.Identifier(role)
            statements.execute(sql.SQL("set local role {}").format(name))
            statements.execute(sql.SQL("set local search_path to {}").format(name))
            statements.execute(_RECORDS)
            statements.execute(migration.statements)
            statements.execute(
                "insert into schema_migrations (name, checksum) values (%s, %s)",
                [migration.name, migration.checksum],
            )
    except psycopg2.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise MigrationError(f"migration {role}/{migration.name} failed and was undone: {reason}") from error
    finally:
        if not link.closed:
            link.autocommit = True
