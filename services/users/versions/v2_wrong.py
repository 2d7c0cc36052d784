"""v2_wrong: v2 with two columns mixed up. Fast, no errors, its schema respected, and wrong: the name is the address.

Example: {"id": 7, "name": "user7@example.com", ...}. Only who compares with another version notices.
"""

from services.users.store import User, UserStore
from services.users.versions import v2


def read(store: UserStore, user_id: int) -> User | None:
    """The user with that id, by the wrong name."""
    user = v2.read(store, user_id)
    return user and user | {"name": user["email"]}
