"""Runs day 11 without a stack and with a load that takes no time, killed at random moments and gone on with.

python -m tests.unit.lab.killed_run RUNS SEED     prints how often it was killed before it came to its end

Every attempt is a process of its own, forked so that only the first one pays for the imports.
"""

import os
import random
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from costlab.lab import catalogue, environment, quiet, session
from tests.unit.lab import synthetic
from tests.unit.lab.test_runner import BEFORE, Chaos, Listener, Load, Probes

ROUNDS = 12
LATEST_SECONDS = 0.3
_MOST = 20


def stand_in(replace: Callable[[object, str, object], None] = setattr) -> SimpleNamespace:
    """Everything that would need a stack, and a stack. ``replace`` puts the stand-ins into place."""
    control = SimpleNamespace(
        flags=lambda: dict(BEFORE), rollouts=dict, metrics=lambda service: [], call=lambda *given, **where: {}
    )
    replace(session, "Probes", lambda *_: Probes())
    replace(session, "Control", lambda *_: control)
    replace(session, "Chaos", lambda _stack: Chaos())
    replace(session.Stage, "set", lambda self, variant: BEFORE)
    replace(session.Stage, "restore", lambda self: None)
    replace(quiet, "LOOK_SECONDS", 0.0)
    replace(session, "used_for", lambda traffic, wanted: "fake")
    replace(environment, "describe", lambda stack, generator: here(generator))
    return SimpleNamespace(
        name="local",
        base_url=lambda: "http://127.0.0.1:1",
        internal_urls=lambda: {"gateway": "http://127.0.0.1:2"},
        token=lambda: "token",
    )


def here(generator: str) -> environment.Environment:
    """A machine whose load comes from ``generator``."""
    return synthetic.environment().model_copy(update={"generator": generator})


def attempt(runs: Path, stack: SimpleNamespace) -> None:
    """A whole run, or the rest of the one that is there."""
    place = session.Place(stack, Listener(), threading.Event(), runs, Load())
    day = catalogue.find("11")
    there = list((runs / day.slug).glob("*.json"))
    if there:
        session.resume(day, there[0], place)
    else:
        session.run_day(day, session.Wish(quick=True, rounds=ROUNDS, seed=5), place)


def killed(runs: Path, stack: SimpleNamespace, seconds: float) -> bool:
    """One attempt in a child, ended by SIGKILL after ``seconds``; whether it was."""
    ended, in_child = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            attempt(runs, stack)
        except Exception as error:  # noqa: BLE001 - whatever it was, this child is no copy of the test
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    os.close(in_child)
    # The pipe closes with the child: nobody waits longer than it runs.
    select.select([ended], [], [], seconds)
    os.kill(child, signal.SIGKILL)
    os.close(ended)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status > 0:
        raise SystemExit(f"an attempt failed with {status}")
    return status == -signal.SIGKILL


def main(runs: Path, seed: int) -> None:
    """Kill and go on until it is done; the last attempt may take its time."""
    draw, stack = random.Random(seed), stand_in()
    kills = 0
    while killed(runs, stack, draw.uniform(0, LATEST_SECONDS) if kills < _MOST else 60):
        kills += 1
    sys.stdout.write(f"{kills}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
