"""Play: faults on a timeline, on a running stack, without an experiment around them (``costlab chaos play FILE``).

    [[faults]]               what an experiment.toml says of its blocks, from the moment it is started
    at = 10
    seconds = 5
    fault = "latency"
    on = "users"
    rate = 0.5
    seed = 7                 drawn if not given, and printed; the same seed repeats
    parameters = { ms = 50 }

Each fault ends by itself ``seconds`` after it began. Whoever interrupts the play ends those that are still in force.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field

from costlab.failure import Failure
from costlab.lab.errors import LabError
from costlab.lab.experiment import PlannedFault
from costlab.lab.toml_file import Closed, line_of, read
from costlab.service.faults import BadFault, Record, Registry


class Chaos(Protocol):
    """What makes faults: costlab.stack.chaos.Chaos."""

    def add(self, document: dict[str, object]) -> Record: ...

    def remove(self, identity: str) -> None: ...

    def status(self) -> list[Record]: ...


class Script(Closed):
    """The file: one table per fault."""

    faults: Annotated[list[PlannedFault], Field(min_length=1)]


def read_script(path: Path) -> list[PlannedFault]:
    """The faults of the file at ``path`` by their time; LabError names the line of a mistake."""
    script, registry = read(path, Script), Registry.load()
    for number, fault in enumerate(script.faults):
        try:
            registry.wish(fault.document())
        except BadFault as error:
            line = line_of(path.read_text(), ("faults", str(number)))
            raise LabError(f"{path}:{line}: faults.{number}: {error}") from error
    return sorted(script.faults, key=lambda fault: fault.at)


def play(
    chaos: Chaos,
    faults: Sequence[PlannedFault],
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Make ``faults``, each at its second, and return when the last is over. ``say`` gets a line for each event."""
    began = clock()
    made: list[Record] = []
    over = 0.0

    def wait_until(second: float) -> None:
        while (left := began + second - clock()) > 0:
            sleep(min(left, 1.0))

    try:
        for number, fault in enumerate(faults, start=1):
            wait_until(fault.at)
            made.append(chaos.add(fault.document()))
            over = max(over, clock() - began + fault.seconds)
            say(f"{clock() - began:6.1f} s  {number}/{len(faults)}  {made[-1].words()}, for {fault.seconds:g} s")
        wait_until(over)
        say(f"{clock() - began:6.1f} s  over")
    finally:
        _end(chaos, made)


def _end(chaos: Chaos, made: Sequence[Record]) -> None:
    """End what was made and is still in force, and nothing that somebody else has made."""
    ours = {record.id for record in made}
    for record in chaos.status():
        if record.id in ours:
            try:
                chaos.remove(record.id)
            except Failure:
                if record.id in {left.id for left in chaos.status()}:
                    raise  # else it has ended by itself in between
