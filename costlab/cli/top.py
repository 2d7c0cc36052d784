"""``costlab top``: what a running stack does now, refreshed in the terminal until Ctrl-C."""

import json
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from costlab.cli.options import Target
from costlab.cli.sheet import SheetName, asked_for
from costlab.lab.conclusion import DEFAULT_SHEET
from costlab.lab.price_sheet import load_assumptions
from costlab.seeing import live
from costlab.seeing.live import Cost, Figures, PoolWait, Reading, Route, Service
from costlab.seeing.stack_reader import Situation, StackReader
from costlab.stack import open_stack, require_up

# A request's use of CPU in a single second says little: background work and the tick of the clock are as large.
WINDOW_SECONDS = 30.0
_LOOK_SECONDS = 0.2
# What stands above and below the routes, in lines.
_REST = 24
_POOLS = 4


@dataclass(frozen=True)
class View:
    """All that is shown at one moment (Unix seconds)."""

    at: float
    figures: Figures
    cost: Cost | None
    situation: Situation


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command("top")(top)


def top(
    every: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds from one view to the next.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="One view after one interval, for pipes.")] = False,
    sheet: SheetName = DEFAULT_SHEET,
    target: Target = "local",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --once.")] = False,
) -> None:
    """What the stack does now: rates, latencies, errors, cache, pools, jobs, flags, faults, CPU, memory, USD per month.

    Until Ctrl-C. A service that does not answer is shown as away. Exit code 3: no stack runs.
    """
    if as_json and not once:
        raise typer.BadParameter("it takes --once: one view is one JSON object", param_hint="--json")
    prices, given = asked_for(sheet), load_assumptions()
    stack = open_stack(target)
    require_up(stack)
    ending = _Ending()
    reader = StackReader(stack)
    shown = _views(reader, every, lambda before, after: live.cost(before, after, prices, given), ending)
    if as_json:
        typer.echo(json.dumps({"stack": stack.name, "sheet": sheet, **_document(next(shown))}, indent=2))
        return
    title = f"{stack.name}, every {every:g} s"
    prices_of = f"{given.daily_users:,.0f} users, {sheet}"
    console = Console(highlight=False)
    if once:
        console.print(_render(next(shown), title, prices_of))
        return
    ending.listen()
    if console.is_terminal:
        _follow(shown, console, lambda view: _render(view, title, prices_of, max(3, console.height - _REST)))
    else:
        for view in shown:
            console.print(_render(view, title, prices_of))


class _Ending:
    """Whether somebody has asked for the end, by Ctrl-C or SIGTERM; asked once more, it is a KeyboardInterrupt.

    A KeyboardInterrupt alone can be lost: raised while Python cleans up an object, it is printed and ignored.
    """

    asked = False

    def listen(self) -> None:
        """From now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True
        signal.signal(number, signal.default_int_handler)


def _follow(shown: Iterator[View], console: Console, render: Callable[[View], RenderableType]) -> None:
    """Until somebody ends it: the terminal is then as it was before."""
    with Live(Text("measuring ..."), console=console, screen=True, auto_refresh=False) as screen:
        for view in shown:
            screen.update(render(view), refresh=True)


def _views(
    reader: StackReader, every: float, cost: Callable[[Reading, Reading], Cost | None], ending: _Ending
) -> Iterator[View]:
    """A view after each interval, until the end."""
    window: deque[Reading] = deque([reader.read()[0]])
    due = time.monotonic()
    while True:
        due = max(due + every, time.monotonic())
        while not ending.asked and (left := due - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_SECONDS))
        if ending.asked:
            return
        reading, situation = reader.read()
        window.append(reading)
        while len(window) > 2 and reading.at - window[0].at > max(WINDOW_SECONDS, every):
            window.popleft()
        yield View(time.time(), live.figures(window[-2], reading), cost(window[0], reading), situation)


def _document(view: View) -> dict[str, object]:
    situation = view.situation
    faults = situation.faults and [
        record.document() | {"seconds_left": record.left(view.at)} for record in situation.faults
    ]
    return {
        "at": view.at,
        **asdict(view.figures),
        "cost": view.cost and asdict(view.cost),
        "flags": situation.flags,
        "rollouts": situation.rollouts,
        "faults": faults,
    }


def _render(view: View, title: str, prices_of: str, most_routes: int | None = None) -> Group:
    figures, situation = view.figures, view.situation
    clock = time.strftime("%H:%M:%S", time.localtime(view.at))
    return Group(
        Text(f"{clock}  {title}", style="bold"),
        _cost_line(view.cost, prices_of),
        _services(figures.services),
        _routes(figures.routes, most_routes),
        Text(f"cache hits   {_share(figures.cache_hit_share)}"),
        Text(f"jobs waiting {_number(figures.stream_backlog)}"),
        Text(f"pool waits   {'; '.join(map(_pool_wait, figures.pool_waits[:_POOLS])) or 'none'}"),
        _flags_line(situation),
        _faults_line(situation, view.at),
    )


def _cost_line(cost: Cost | None, prices_of: str) -> Text:
    if cost is None:
        return Text("USD a month  not known: CPU and memory cannot be read", style="yellow")
    idle = f"{cost.idle_usd:.2f} before the first request"
    if cost.usd_per_month is None:
        return Text(f"USD a month  {idle}; nobody comes ({prices_of})")
    line = Text("USD a month  ").append(f"{cost.usd_per_month:.2f}", style="bold")
    return line.append(f" ({prices_of}), {idle}; by the use of {cost.over_seconds:.0f} s")


def _services(services: list[Service]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("service", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for heading in ("requests/s", "errors", "CPU %", "memory MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for service in services:
        table.add_row(
            service.name,
            _state(service),
            _number(service.requests_per_second, 1),
            _errors(service.error_share),
            _number(None if service.cpu_cores is None else 100 * service.cpu_cores, 1),
            _number(None if service.memory_bytes is None else service.memory_bytes / 1e6),
        )
    return table


def _state(service: Service) -> Text:
    if service.instances == 0:
        return Text("")  # PostgreSQL and Redis have no metrics of their own
    if not service.away:
        return Text("up" if service.instances == 1 else f"{service.up} up", style="green")
    return Text("away" if not service.up else f"{', '.join(service.away)} away", style="red")


def _routes(routes: list[Route], most: int | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("service", no_wrap=True)
    table.add_column("route", overflow="ellipsis", no_wrap=True)
    for heading in ("requests/s", "errors", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for route in routes[:most]:
        quantiles = (None if seconds is None else 1000 * seconds for seconds in (route.p50, route.p95, route.p99))
        table.add_row(
            route.service,
            Text(f"{route.method} {route.route}"),
            _number(route.requests_per_second, 1),
            _errors(route.error_share),
            *(_number(milliseconds, 1) for milliseconds in quantiles),
        )
    left = len(routes) - table.row_count
    if left:
        table.add_row("", Text(f"and {left} more", style="dim"))
    return table


def _pool_wait(wait: PoolWait) -> str:
    p95 = "-" if wait.p95 is None else f"{1000 * wait.p95:.1f} ms"
    return f"{wait.service} to {wait.peer} {wait.waits_per_second:.1f}/s, p95 {p95}"


def _flags_line(situation: Situation) -> Text:
    if situation.flags is None:
        return Text("flags        not known: no service answers", style="yellow")
    said = [f"{name}={value}" for name, value in situation.flags.items()]
    said += ["{}={value} for {percent:g} %".format(name, **one) for name, one in (situation.rollouts or {}).items()]
    return Text(f"flags        {', '.join(said) or 'all at their defaults'}", style="yellow" if said else "")


def _faults_line(situation: Situation, now: float) -> Text:
    if situation.faults is None:
        return Text("faults       not known", style="yellow")
    said = [f"{record.words()} ({record.left(now):.0f} s left)" for record in situation.faults]
    return Text(f"faults       {'; '.join(said) or 'none'}", style="bold yellow" if said else "")


def _errors(share: float | None) -> Text:
    return Text(_share(share), style="red" if share else "")


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
