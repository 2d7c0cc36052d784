"""Retry: make a failed call again, after a pause, while attempts, time and budget last.

Example: 3 attempts, full jitter, 1 s until the deadline. The first attempt fails at 5 ms, the second starts within
50 ms and fails, the third within 100 ms of that. An upstream that fails 1 call in 100 by chance is then seen to
fail 1 in 1,000,000.

Trade-off: retries multiply load exactly when there is too much of it. 3 attempts in each of 3 layers are 27 calls
for one request, and an overloaded upstream that gets them stays overloaded after its trouble has ended (a metastable
failure). Therefore, at the HTTP client: only requests that may be made twice; never after the deadline; in one layer,
the outermost that can (it tells the layers behind it not to, by the header X-No-Retry); and with a budget.

Use instead: nothing, for errors that will come again (4xx); a hedged request against rare slowness; a circuit breaker
or a throttle against an upstream that keeps failing.

Units: seconds, on the clock that is passed in. Source: SRE book, ch. 22, "Addressing Cascading Failures"; pauses:
costlab/resilience/backoff.py.
"""

import time
from collections.abc import Callable, Iterator

RETRIED = "retried"


class Retry:
    """The attempts of one call: at most ``allowed``, none of them after ``deadline``.

    ``budget`` is asked once for each retry and may refuse it.
    """

    def __init__(
        self,
        allowed: int,
        pauses: Iterator[float],
        deadline: float,
        budget: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.resent = 0
        self._allowed = allowed
        self._pauses = pauses
        self._deadline = deadline
        self._budget = budget
        self._clock = clock
        self._sleep = sleep

    def again(self, after: float = 0.0) -> str:
        """What follows a failure: ``retried``, when the pause is over; or what stops it: attempts, deadline, budget.

        ``after`` is how long the one who refused asked to be left alone; the pause comes on top, or all who were
        told the same would return together.
        """
        if self.resent + 1 >= self._allowed:
            return "attempts"
        pause = after + next(self._pauses)
        if self._clock() + pause >= self._deadline:
            return "deadline"
        if not self._budget():
            return "budget"
        if pause > 0:
            self._sleep(pause)
            if self._clock() >= self._deadline:
                return "deadline"
        self.resent += 1
        return RETRIED
