"""Prepare a stack: the control token, database roles, migrations and seed data. Running it again changes nothing.

    python -m services.prepare

One run at a time works on a database; a second one waits for the first. What fails leaves the step it was in undone,
says so in one line and exits 1 (a wrong setting: 4).
"""

import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from costlab.failure import Failure
from costlab.service.settings import PREFIX, PostgresUrl, stop
from services import migrations, roles
from services.orders import seed as orders_seed
from services.users import seed as users_seed

WAIT_SECONDS = 30.0
LOCK_SECONDS = 120
_LOCK = 0x636F73746C61  # "costla": the advisory lock of whoever prepares a database
_SERVICES = Path(__file__).parent
_SEEDS: tuple[ModuleType, ...] = (users_seed, orders_seed)

Report = Callable[[str], None]


class PrepareError(Failure):
    """The stack cannot be prepared, and why."""


class PrepareSettings(BaseSettings):
    """What prepare is told by the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    token_file: Path = Field(description="file for the control token; made when it is missing")
    admin_database_url: PostgresUrl = Field(description="PostgreSQL as a superuser, who makes roles and schemas")
    role_password: SecretStr = Field(min_length=1, description="password of every database role")


def prepare(settings: PrepareSettings, report: Report) -> None:
    """Bring token and database to the state the services need; ``report`` gets one line for each change."""
    with closing(wait_for_database(settings.admin_database_url)) as link, _alone(link):
        if ensure_token(settings.token_file):
            report(f"token written to {settings.token_file}")
        with _transaction(link), link.cursor() as statements:
            roles.establish(statements, settings.role_password.get_secret_value())
        for role in roles.OWNERS:
            for name in migrations.apply(link, role, migrations.read(_SERVICES / role / "migrations")):
                report(f"migration {role}/{name} applied")
        for seed in _SEEDS:
            _seed(link, seed, report)


def ensure_token(path: Path) -> bool:
    """Write a new token to ``path`` unless there is one; whether it was written."""
    try:
        if path.exists():
            if not path.read_text().strip():
                raise PrepareError(f"{path} is empty; remove it, and a new token will be written")
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, secrets.token_hex(32))
    except OSError as error:
        raise PrepareError(f"the control token cannot be kept in {path}: {error.strerror}") from error
    return True


def wait_for_database(url: str, seconds: float = WAIT_SECONDS) -> connection:
    """A connection in autocommit mode, as soon as the server accepts one."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            link = psycopg2.connect(url, connect_timeout=3, application_name="prepare")
        except psycopg2.OperationalError as error:
            if time.monotonic() >= deadline:
                reason = str(error).strip().splitlines()[0]
                raise PrepareError(f"PostgreSQL did not let us in for {seconds:.0f} s: {reason}") from error
            time.sleep(0.1)
        else:
            link.autocommit = True
            return link


def _write_whole(path: Path, token: str) -> None:
    """A reader sees no file or the whole token."""
    draft = path.with_name(f"{path.name}.draft")
    draft.touch(mode=0o640)
    draft.write_text(token + "\n")
    draft.replace(path)


@contextmanager
def _alone(link: connection) -> Iterator[None]:
    """Hold the lock on preparing this database; closing the connection gives it back."""
    with link.cursor() as statements:
        statements.execute("set lock_timeout = %s", [f"{LOCK_SECONDS}s"])
        try:
            statements.execute("select pg_advisory_lock(%s)", [_LOCK])
        except psycopg2.errors.LockNotAvailable as error:
            raise PrepareError(f"another prepare has been busy for {LOCK_SECONDS} s; is it stuck?") from error
    yield


@contextmanager
def _transaction(link: connection) -> Iterator[None]:
    link.autocommit = False
    try:
        with link:
            yield
    finally:
        if not link.closed:
            link.autocommit = True


def _seed(link: connection, seed: ModuleType, report: Report) -> None:
    """Load a service's seed data in one transaction, if the first of its tables is empty."""
    started = time.monotonic()
    role = sql.Identifier(seed.ROLE)
    with _transaction(link), link.cursor() as statements:
        # Generated rows refer to each other by construction (a test checks it); 600,000 look-ups would double the time.
        statements.execute("set local session_replication_role to replica")
        statements.execute(sql.SQL("set local role {}").format(role))
        statements.execute(sql.SQL("set local search_path to {}").format(role))
        statements.execute(sql.SQL("select from {} limit 1").format(sql.Identifier(seed.TABLES[0])))
        if statements.rowcount:
            return
        loaded = seed.load(statements)
    # Now rather than by autovacuum a minute later, in the middle of somebody's measurement.
    with link.cursor() as statements:
        for table in seed.TABLES:
            statements.execute(sql.SQL("vacuum (analyze) {}").format(sql.Identifier(seed.ROLE, table)))
    report(f"seeded {loaded} in {time.monotonic() - started:.1f} s")


def main() -> int:
    """Prepare with the settings of the environment; the exit code."""
    try:
        settings = PrepareSettings()  # type: ignore[call-arg] - the environment gives the values
    except ValidationError as error:
        stop("prepare", error)
    try:
        prepare(settings, lambda line: print(f"prepare: {line}", flush=True))  # noqa: T201 - a program's output
    except (Failure, psycopg2.Error) as error:
        reason = str(error).strip().splitlines()[0]
        print(f"prepare: failed: {reason}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
