"""Chance that repeats: what a fault does to the n-th request it meets follows from its seed, the process and n.

Example: seed 7, rate 0.3. Of the first ten requests, counted from 0, the first process of the first instance fails
2, 5, 6 and 9, today and in a year; the second process fails 7 of its own. Were their draws the same, 600 requests over
two processes would be 300 draws that count twice, and the failures would vary twice as much as chance has it.

Repeats: a service with one process and one instance, whole. With several processes or instances each of them repeats
its own sequence, and which request comes to which of them does not. A process that gunicorn starts in place of one
that died has a sequence of its own, unless it is the only one: then it takes up that of the other from the start.
Containers of one service do not know their number: there, replicas draw alike.

Trade-off: "the n-th request" is the n-th to arrive at the fault. One thread repeats exactly; with several threads the
same numbers are drawn, but which request draws which depends on who is faster.
Use instead: no seed, when runs shall differ; one is drawn then, and shown.

Units: none. Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (counters in place of state).
"""

import re
from collections.abc import Mapping
from random import Random

from costlab.service.fault_kinds.effects import Effect, Kind
from costlab.service.faults import SEEDS

# Of the processes of an instance, from 1: infra/gunicorn.conf.py.
PROCESS_NUMBER = "COSTLAB_PROCESS_NUMBER"
# users, users-2: supervisord tells it to what it starts (costlab/stack/replicas.py).
INSTANCE_NAME = "SUPERVISOR_PROCESS_NAME"
# More than there will be of either.
_REQUESTS = 2**40
_PROCESSES = 2**32


def decide(kind: Kind, rate: float, seed: int, number: int, sequence: int = 0) -> Effect | None:
    """What ``kind`` does to request ``number`` (from 0) of a ``sequence``; None to those that ``rate`` lets pass."""
    random = Random((sequence * SEEDS + seed) * _REQUESTS + number)  # noqa: S311 - repeats on purpose
    return kind.effect(random) if random.random() < rate else None


def sequence(environment: Mapping[str, str]) -> int:
    """Which sequence is drawn by the process with this environment; 0 for the first process of the first instance.

    >>> sequence({}), sequence({PROCESS_NUMBER: "2"}), sequence({INSTANCE_NAME: "users-2"})
    (0, 1, 4294967296)
    """
    numbered = re.search(r"-([1-9][0-9]*)$", environment.get(INSTANCE_NAME, ""))
    instance = int(numbered[1]) if numbered else 1
    return (instance - 1) * _PROCESSES + int(environment.get(PROCESS_NUMBER, "1")) - 1
