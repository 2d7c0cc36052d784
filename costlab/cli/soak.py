"""``costlab chaos soak``: random faults one after the other while orders come in, on a stack of its own."""

import json
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from costlab.failure import Failure
from costlab.lab.soak import Soak, Soaked
from costlab.service.faults import SEEDS
from costlab.stack import Stack, StackError, binaries, open_stack, ports
from costlab.stack.chaos import Chaos


class SoakFailed(Failure):
    """The stack did not come back, or an order was lost."""


def soak(
    sequences: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    seed: Annotated[
        int | None, typer.Option(min=0, max=SEEDS - 1, help="The same seed repeats; drawn if not given.")
    ] = None,
    first: Annotated[int, typer.Option(min=1, help="Begin with this one: --first 37 --sequences 1 repeats one.")] = 1,
    seconds_each: Annotated[float, typer.Option(min=1, max=60, help="What a sequence lasts.")] = 3.0,
    minutes: Annotated[float, typer.Option(min=0.1, help="It has failed when it is not through by then.")] = 15.0,
    wire: Annotated[
        bool | None, typer.Option("--wire/--no-wire", help="Break the wire too; where toxiproxy is found, if not said.")
    ] = None,
    target: Annotated[
        str, typer.Option(help="A stack that is up: local, compose, its URL; without, a local one of its own.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON at the end, and progress on stderr.")] = False,
) -> None:
    """Break a stack at random, again and again, while orders come in; it must be well again each time.

    In the end every order that was accepted is stored once and was processed once. Exit code 1 says it was not so, or
    that time was over. Ctrl-C ends every fault.
    """

    def say(line: str) -> None:
        typer.echo(line, err=as_json)

    seed = random.randrange(SEEDS) if seed is None else seed  # noqa: S311
    # Ended from outside, no fault is left either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wire = not target and _wire(say) if wire is None else wire
    command = f"costlab chaos soak --seed {seed} --seconds-each {seconds_each:g}"
    command += f" --target {target}" if target else " --wire" if wire else " --no-wire"
    say(f"seed {seed}: {sequences} sequences of {seconds_each:g} s; again: {command} --sequences {sequences}")
    with _stack(target, wire, say) as stack:
        soaked = Soak(stack, Chaos(stack), say, seconds_each, minutes).run(seed, first, sequences)
        if as_json:
            typer.echo(json.dumps(soaked.document(), indent=2))
        _tell(soaked, say, command)


def _wire(say: Callable[[str], None]) -> bool:
    try:
        binaries.toxiproxy()
    except StackError as error:
        say(f"the wire is left whole: {error}")
        return False
    return True


def _tell(soaked: Soaked, say: Callable[[str], None], command: str) -> None:
    say(
        f"{soaked.done} of {soaked.asked} sequences, {soaked.faults} faults made, {len(soaked.refused)} kept from it "
        f"by others; {soaked.accepted} orders accepted in {soaked.attempts} attempts; slowest recovery "
        f"{soaked.slowest_recovery_seconds:.1f} s; {soaked.seconds:.0f} s in all"
    )
    if not soaked.wrong:
        say("every order accepted is stored once and was processed once; no fault is left")
    elif soaked.failed_sequence is None:
        raise SoakFailed(f"seed {soaked.seed}: {soaked.wrong}")
    else:
        again = f"{command} --first {soaked.failed_sequence} --sequences 1"
        raise SoakFailed(f"sequence {soaked.failed_sequence} of seed {soaked.seed}: {soaked.wrong}; again: {again}")


@contextmanager
def _stack(target: str, wire: bool, say: Callable[[str], None]) -> Iterator[Stack]:
    """The stack at ``target``; or one that is started here and gone afterwards, its logs kept when it failed."""
    if target:
        yield open_stack(target)
        return
    folder = Path(tempfile.mkdtemp(prefix="costlab-soak-"))
    base = ports.keep_base()
    stack = open_stack("local", state=folder, port_base=base, through_toxiproxy=wire)
    try:
        stack.up(say)
        yield stack
    except BaseException:
        stack.down()
        say(f"what the services said: {folder}")
        raise
    finally:
        ports.give_back(base)
    stack.down(volumes=True)
