"""v2_slow: v2 that first waits for something it would not need. Right answers, SLOW_SECONDS late.

Example: of 5 ms it makes 55; with 8 threads a process answers 145 requests a second at most.
"""

import time

from services.users.store import User, UserStore
from services.users.versions import v2

SLOW_SECONDS = 0.05


def read(store: UserStore, user_id: int) -> User | None:
    """The user with that id."""
    time.sleep(SLOW_SECONDS)
    return v2.read(store, user_id)
