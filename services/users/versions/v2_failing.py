"""v2_failing: v2 that answers one request in five with 500.

Example: of 1,000 requests 200 fail, give or take 25 (two standard deviations); the others are right. Which ones is
chance without a seed: not the same twice.
"""

import random

from costlab.service.problem import Problem
from services.users.store import User, UserStore
from services.users.versions import v2

FAILING_SHARE = 0.2


def read(store: UserStore, user_id: int) -> User | None:
    """The user with that id, four times out of five."""
    if random.random() < FAILING_SHARE:  # noqa: S311 - not a secret
        raise Problem("This version of users fails now and then.")
    return v2.read(store, user_id)
