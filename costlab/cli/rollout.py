"""``costlab rollout start|status|promote|abort``: another value of a flag for a share of the users first."""

import json
import signal
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import typer
from rich.console import Console

from costlab.cli.chaos import seconds
from costlab.cli.options import AsJson, Target
from costlab.failure import Failure
from costlab.lab.canary import Canary, Plan
from costlab.lab.canary_judge import MIN_INTERVALS, PASS
from costlab.service.flags import Registry
from costlab.stack import Stack, open_stack
from costlab.stack.control import Control

FlagName = Annotated[str, typer.Argument(metavar="FLAG", help="A flag that may be rolled out, such as users.version.")]

commands = typer.Typer(
    help="Give another value of a flag to a share of the users, always the same ones, and to all if it is good.",
    no_args_is_help=True,
)


class RolloutError(Failure):
    """A rollout cannot be started or ended."""


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.add_typer(commands, name="rollout")


@commands.command("start")
def start(
    flag: FlagName,
    value: Annotated[str, typer.Argument(help="What some users get instead of what the flag says.")],
    percent: Annotated[float | None, typer.Option(min=0, max=100, help="Percent of the users; 10 without.")] = None,
    ttl: Annotated[str, typer.Option(help="Ends by itself after this time, unless promoted or started again.")] = "15m",
    judge: Annotated[
        bool, typer.Option("--judge", help="Go on by steps, judging after each; back when worse.")
    ] = False,
    steps: Annotated[str, typer.Option(help="With --judge: percent of the users, rising to 100.")] = "1,5,25,100",
    interval: Annotated[str, typer.Option(help="With --judge: how long each look takes: 500ms, 5s.")] = "5s",
    looks: Annotated[int, typer.Option(min=MIN_INTERVALS, help="With --judge: looks at each step.")] = 8,
    target: Target = "local",
) -> None:
    """Give VALUE to a share of the users. Started again with another percentage, the same users come first.

    With --judge it walks the steps by itself: after each it compares errors, wrong answers and late answers of the
    users concerned with those of as many others, and rolls back when they are worse (exit code 1), or when Ctrl-C ends
    it. Killed with -9 it can do nothing any more, and the rollout ends after --ttl.
    """
    stack = open_stack(target)
    control = Control(stack.internal_urls(), stack.token())
    _check(control, flag, value)
    if judge:
        if percent is not None:
            raise RolloutError("--judge goes by --steps, not by --percent")
        plan = Plan(flag, value, _steps(steps), looks, seconds(interval), seconds(ttl))
        if plan.live < 3 * plan.seconds:
            raise RolloutError(f"--ttl {ttl}: the rollout would end between two looks; at least 3 times --interval")
        _judged(stack, control, plan)
        return
    wish = {"value": value, "percent": 10 if percent is None else percent, "seconds": seconds(ttl)}
    running = control.rollouts().get(flag)
    if running is not None:
        wish["salt"] = running["salt"]
    control.roll_out({flag: wish})
    typer.echo(f"{wish['percent']:g} % of the users get {flag} = {value} for {ttl}, in every process")


@commands.command("status")
def status(target: Target = "local", as_json: AsJson = False) -> None:
    """What is being rolled out, to how many percent of the users, and when it ends by itself."""
    running = _control(target).rollouts()
    if as_json:
        typer.echo(json.dumps([{"flag": flag} | found for flag, found in running.items()], indent=2))
        return
    for flag, found in running.items():
        words = f"for {found['percent']:g} % of the users; ends in {found['seconds_left']:.0f} s"
        Console(highlight=False).print(f"{flag} = {found['value']} {words}", soft_wrap=True)
    if not running:
        typer.echo("nothing is being rolled out")


@commands.command("promote")
def promote(flag: FlagName, target: Target = "local") -> None:
    """Give the value that is being rolled out to everybody: it becomes the flag's own."""
    control = _control(target)
    running = control.rollouts().get(flag)
    if running is None:
        raise RolloutError(f"{flag} is not being rolled out")
    control.set_flags({flag: running["value"]})
    typer.echo(f"{flag} = {running['value']} for everybody")


@commands.command("abort")
def abort(
    flag: Annotated[str | None, typer.Argument(metavar="FLAG", help="One flag; all rollouts without.")] = None,
    target: Target = "local",
) -> None:
    """End a rollout, or all: everybody gets what the flag says. Returns once every process has it."""
    control = _control(target)
    running = [name for name in control.rollouts() if flag in (None, name)]
    if running:
        control.roll_out(dict.fromkeys(running))
    typer.echo(f"ended: {', '.join(running)}" if running else "nothing was being rolled out")


def _judged(stack: Stack, control: Control, plan: Plan) -> None:
    owner = Registry.load()[plan.flag].owner
    instances = [name for name in stack.internal_urls() if name == owner or name.startswith(f"{owner}-")]
    for number in (signal.SIGTERM, signal.SIGHUP):  # ended from outside it is rolled back too, as after Ctrl-C
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)
    verdict = Canary(control, instances, plan, time.sleep, typer.echo).walk()
    if verdict.word != PASS:
        raise RolloutError(f"{plan.value} is rolled back: {verdict.word}")
    typer.echo(f"{plan.flag} = {plan.value} for everybody")


def _check(control: Control, flag: str, value: str) -> None:
    try:
        Registry.load().check_rollout(flag, value)
    except ValueError as error:
        raise RolloutError(str(error)) from error
    if control.flags()[flag] == value:
        raise RolloutError(f"{flag} is {value} for everybody already")
    running = control.rollouts().get(flag)
    if running is not None and running["value"] != value:
        raise RolloutError(f"{flag} = {running['value']} is being rolled out: promote or abort that first")


def _steps(text: str) -> Sequence[float]:
    try:
        found = [float(step) for step in text.split(",")]
    except ValueError:
        found = []
    rising = all(0 < one < other for one, other in pairwise(found))
    if len(found) < 2 or not rising or found[-1] != 100:
        raise RolloutError(f"--steps {text!r}: percentages that rise to 100, for instance 1,5,25,100")
    return found


def _control(target: str) -> Control:
    stack = open_stack(target)
    return Control(stack.internal_urls(), stack.token())
