"""Seed data of users: 10,000 of them, ids from 1, the same on every machine."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from psycopg2.extensions import cursor

from costlab.service import bulk_load

ROLE = "users"
TABLES = ("users",)
USERS = 10_000
_SEED = 20250101
_FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
_GIVEN = "Ada Alan Barbara Carl Dennis Edsger Frances Grace Hedy Ivan John Katherine Leslie Margaret Niklaus"
_FAMILY = "Allen Backus Cerf Dijkstra Engelbart Floyd Gray Hopper Iverson Johnson Kay Lamport Moore Naur"
_TIERS = ("standard", "plus", "gold")
_SHARES = (80, 15, 5)


def load(statements: cursor) -> str:
    """Fill the empty tables; what was loaded, in words."""
    columns = ("id", "name", "email", "tier", "created_at")
    loaded = bulk_load.copy(statements, "users", columns, users())
    statements.execute("select setval(pg_get_serial_sequence('users', 'id'), %s)", [loaded])
    return f"{loaded:,} users"


def users() -> Iterator[tuple[int, str, str, str, datetime]]:
    """The rows of table users."""
    random = Random(_SEED)  # noqa: S311 - made-up data, not a secret
    given, family = _GIVEN.split(), _FAMILY.split()
    for number in range(1, USERS + 1):
        name = f"{random.choice(given)} {random.choice(family)}"
        tier = random.choices(_TIERS, _SHARES)[0]
        yield number, name, f"user{number}@example.com", tier, _FIRST_DAY + timedelta(minutes=number)
