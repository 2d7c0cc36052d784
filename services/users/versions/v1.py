"""v1: one user by a statement of its own. What the answers of every other version are held against."""

from services.users.store import User, UserStore


def read(store: UserStore, user_id: int) -> User | None:
    """The user with that id."""
    return store.get(user_id)
