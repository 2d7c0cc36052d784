"""Which version answers a user, what came of it, and whether it was right (flag ``users.version``).

While a version is rolled out, each answer of the canary is compared with that of ``v1``, and a difference counted.
The comparison costs the canary one more query per request, which is not part of the time recorded.

An answer says which version it is from, also when the cache-proxy stored it: what a cache holds of a version that was
rolled back is served until its own time is over.
"""

import time

from costlab.service import metrics
from costlab.service.feature_provider import Decision, Features
from costlab.service.problem import Problem
from costlab.service.rollout import ALL, CANARY
from services.users.store import User, UserStore
from services.users.versions import VERSIONS, v1

FLAG = "users.version"
HEADER = "X-Costlab-Version"


class VersionedRead:
    """Reads users through the version that the flag or its rollout says."""

    def __init__(self, store: UserStore, features: Features) -> None:
        self._store = store
        self._features = features
        self._seconds = metrics.Children(metrics.ROLLOUT_SECONDS)
        self._mismatches = metrics.Children(metrics.ROLLOUT_MISMATCHES)

    def get(self, user_id: int) -> tuple[str, User | None]:
        """The version that answered, and the user. A Problem carries the version in its headers."""
        decision = self._features.decide(FLAG, user_id)
        # A day without a rollout pays for nothing that counts one.
        if decision == ("v1", ALL):
            return decision.value, v1.read(self._store, user_id)
        user = self._observed(decision, user_id)
        if decision.group == CANARY:
            self._compare(decision, user_id, user)
        return decision.value, user

    def _observed(self, decision: Decision, user_id: int) -> User | None:
        started, outcome = time.monotonic(), "error"
        try:
            user = VERSIONS[decision.value](self._store, user_id)
            outcome = "ok"
            return user
        except Problem as error:
            error.headers[HEADER] = decision.value
            raise
        finally:
            self._seconds[FLAG, *decision, outcome].observe(time.monotonic() - started)

    def _compare(self, decision: Decision, user_id: int, user: User | None) -> None:
        try:
            expected = v1.read(self._store, user_id)
        except Problem:
            return  # nothing to compare with; the answer itself is there
        if user != expected:
            self._mismatches[FLAG, decision.value].inc()
