"""Versions of ``GET /users/{id}`` (flag ``users.version``), one file each: what a rollout brings to some users first.

All read the same table and answer the same schema. ``v1`` and ``v2`` are right; the others are ``v2`` as it might have
been deployed on a bad day.
"""

from collections.abc import Callable

from services.users.store import User, UserStore
from services.users.versions import v1, v2, v2_failing, v2_slow, v2_wrong

Read = Callable[[UserStore, int], User | None]

VERSIONS: dict[str, Read] = {
    "v1": v1.read,
    "v2": v2.read,
    "v2_slow": v2_slow.read,
    "v2_wrong": v2_wrong.read,
    "v2_failing": v2_failing.read,
}
