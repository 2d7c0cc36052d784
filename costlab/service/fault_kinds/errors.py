"""Errors: the answer is an error, and nothing is done.

Example: rate 0.3 and status 503 on users: 30 % of its requests fail in under a millisecond. With two retries a caller
sees 0.3^3 = 2.7 % of them, and users gets 1.39 requests for each.

Trade-off: failing fast is the kind failure: no thread is held, no deadline runs out. PostgreSQL and Redis know no HTTP
status; there the command is answered as their own servers refuse one, and what the service makes of it is on trial.
Use instead: ``hang`` for the unkind one, ``reset`` for one without an answer.

Units: HTTP status. Source: Netflix, "FIT: Failure Injection Testing" (2014); Envoy, the filter ``fault`` (abort).
"""

from random import Random

from costlab.service.fault_kinds.effects import Answer


class Errors:
    """Answers ``status``."""

    def __init__(self, status: int = 503) -> None:
        self._answer = Answer(status)

    def effect(self, random: Random) -> Answer:
        """Always the same."""
        return self._answer
