"""The users in PostgreSQL."""

from collections.abc import Sequence
from typing import Any

from costlab.service.database import Database, array
from services.users.models import MAX_ID

User = dict[str, Any]

_GET = "select id, name, email, tier, created_at from users where id = %s"
_BATCH = "select id, name, email, tier, created_at from users where id = any(%s::bigint[])"
_ADD = """
insert into users (name, email) values (%s, %s)
on conflict (lower(email)) do nothing
returning id, name, email, tier, created_at"""


class UserStore:
    """Reads and writes table users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, user_id: int) -> User | None:
        """The user with that id."""
        if user_id > MAX_ID:
            return None
        rows = self._database.query(_GET, [user_id])
        return _user(rows[0]) if rows else None

    def batch(self, ids: Sequence[int]) -> list[User]:
        """The users that exist among ``ids``, each once, in the order of their first mention."""
        found = {row[0]: _user(row) for row in self._database.query(_BATCH, [array(ids)])}
        return [found[user_id] for user_id in dict.fromkeys(ids) if user_id in found]

    def add(self, name: str, email: str) -> User | None:
        """The new user, or None when somebody has that address."""
        rows = self._database.query(_ADD, [name, email], again=False)
        return _user(rows[0]) if rows else None


def _user(row: tuple[Any, ...]) -> User:
    return dict(zip(("id", "name", "email", "tier", "created_at"), row, strict=True))
