"""``costlab up|down|restart|status|logs|doctor``: start a stack, look at it, restart what it runs, stop it."""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from costlab.cli.options import AsJson, Target
from costlab.failure import Failure
from costlab.stack import ROOT, ServiceStatus, doctor, open_stack, replicas, restarting
from costlab.stack.chaos import Chaos


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    commands = {"up": up, "down": down, "restart": restart, "status": status, "logs": logs, "doctor": examine}
    for name, command in commands.items():
        app.command(name)(command)


def up(
    target: Target = "local",
    through_toxiproxy: Annotated[
        bool, typer.Option("--wire", help="Send every call through toxiproxy, where faults on the wire are made.")
    ] = False,
    several: Annotated[
        list[str] | None, typer.Option("--replicas", help="Instances of users or orders, 1 to 8: users=3. Repeatable.")
    ] = None,
    seeing: Annotated[
        bool | None,
        typer.Option(
            "--seeing/--no-seeing",
            help="Bring Prometheus, Grafana and Jaeger along, where this machine has them (default, locally).",
        ),
    ] = None,
) -> None:
    """Start the stack in the background; returns when every service is ready.

    COSTLAB_PORT_BASE moves all its ports (8080), COSTLAB_STATE its data (.costlab), COSTLAB_PROCESSES and
    COSTLAB_THREADS size its services, COSTLAB_USERS_REPLICAS and COSTLAB_ORDERS_REPLICAS say how many instances run,
    COSTLAB_SEEING=off is --no-seeing.
    """
    console = Console(highlight=False)
    if seeing is None and not os.environ.get("COSTLAB_SEEING"):
        seeing = True
    os.environ.update(replicas.asked_for(text) for text in several or ())
    with _leaving_in_order():
        stack = open_stack(target, through_toxiproxy=through_toxiproxy, seeing=seeing)
        stack.up(lambda line: console.print(line, markup=False, style=_style(line)))


def _style(line: str) -> str | None:
    return "yellow" if line.startswith("warning:") else None


def down(
    target: Target = "local",
    volumes: Annotated[bool, typer.Option("--volumes", "-v", help="Remove the data as well.")] = False,
) -> None:
    """Stop the stack; returns when all its processes are gone. Its data stays."""
    open_stack(target).down(volumes=volumes)
    typer.echo("the stack is down" + (", its data removed" if volumes else ""))


def restart(
    service: Annotated[str, typer.Argument(help="A service, all its instances; one instance (users-2); or all.")],
    rolling: Annotated[
        bool, typer.Option("--rolling", help="One instance after the other, each once the last is ready.")
    ] = False,
    target: Target = "local",
) -> None:
    """Restart a service; returns when it is ready. How its instances go is the flag service.shutdown."""
    restarting.restart(open_stack(target), service, rolling, typer.echo)


def status(target: Target = "local", as_json: AsJson = False) -> None:
    """Health, pid, port, CPU and memory of each service; exit code 3 when none runs, 1 when one is not healthy."""
    stack = open_stack(target)
    services, missing = stack.status(), stack.left_out()
    if as_json:
        rows = [*services, *(_missing(name, reason) for name, reason in missing.items())]
        typer.echo(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        Console().print(_table(services, target))
        _say_where(services, missing)
        if any(service.pid for service in services):
            _say_faults(target)
    if any(service.state == "killed" for service in services):
        typer.echo("its supervisor was killed: costlab up clears away what it left and starts anew", err=True)
    elif not any(service.pid for service in services):
        raise typer.Exit(3)
    if not all(service.healthy for service in services):
        raise typer.Exit(1)


def _missing(name: str, reason: str) -> ServiceStatus:
    return ServiceStatus(name, f"left out: {reason}", False, None, None, None, 0.0, 0, 0)


def _say_where(services: Sequence[ServiceStatus], missing: Mapping[str, str]) -> None:
    """Addresses to click on, and what there is none of."""
    console = Console(highlight=False, soft_wrap=True)
    for service in sorted(services, key=lambda row: row.name != "gateway"):
        if service.url and service.pid:
            console.print(f"{service.name:<11} {service.url}", markup=False)
    for name, reason in missing.items():
        console.print(f"{name:<11} left out: {reason}", markup=False, style="yellow")


def _say_faults(target: str) -> None:
    """One line that what is seen is broken on purpose."""
    try:
        active = Chaos(open_stack(target)).status()
    except Failure as failure:
        typer.echo(f"chaos: cannot tell what is broken on purpose: {failure}", err=True)
        return
    now = time.time()
    said = [f"{record.words()} ({record.left(now):.0f} s left)" for record in active]
    if said:
        Console(highlight=False).print(f"chaos: {'; '.join(said)}", style="bold yellow", markup=False)


def logs(
    service: Annotated[str | None, typer.Argument(help="One service; all of them without.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    target: Target = "local",
) -> None:
    """What the services say."""
    try:
        for line in open_stack(target).logs(service, follow):
            typer.echo(line)
    except KeyboardInterrupt:
        raise typer.Exit from None


def examine(as_json: AsJson = False) -> None:
    """What this machine has, what each thing is for and how to get it; exit code 3 when no local stack can run here."""
    state = Path(os.environ.get("COSTLAB_STATE") or ROOT / ".costlab")
    findings = list(doctor.examine(state))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            _show(finding)
    if not all(finding.ok for finding in findings if finding.needed):
        raise typer.Exit(3)


def _table(services: Sequence[ServiceStatus], target: str) -> Table:
    kind = "memory" if target == "compose" else "PSS" if os.path.exists("/proc/self/smaps_rollup") else "RSS"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("service", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("pid", "port", "internal", "processes", "CPU s", f"{kind} MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for service in services:
        table.add_row(service.name, _state(service), *_figures(service))
    processes = sum(service.processes for service in services)
    cpu = sum(service.cpu_seconds for service in services)
    memory = sum(service.memory_bytes for service in services)
    table.add_section()
    table.add_row("total", "", "", "", "", f"{processes}", f"{cpu:.1f}", f"{memory / 1e6:.0f}", style="bold")
    return table


def _figures(service: ServiceStatus) -> list[str]:
    if not service.pid:
        return ["", _port(service.port), _port(service.internal_port), "", "", ""]
    return [
        f"{service.pid}",
        _port(service.port),
        _port(service.internal_port),
        f"{service.processes}",
        f"{service.cpu_seconds:.1f}",
        f"{service.memory_bytes / 1e6:.0f}",
    ]


def _state(service: ServiceStatus) -> str:
    if service.healthy:
        return "[green]healthy[/]"
    return f"[red]{service.state}, not ready[/]" if service.pid else f"[dim]{service.state}[/]"


def _port(number: int | None) -> str:
    return "" if number is None else f"{number}"


def _show(finding: doctor.Finding) -> None:
    """Lines rather than a table: paths are long, and whoever reports a problem copies them."""
    mark, colour = ("ok", "green") if finding.ok else ("missing", "red") if finding.needed else ("optional", "yellow")
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[{colour}]{mark:<9}[/]{finding.name:<11} {escape(finding.found)}")
    if not finding.ok:
        console.print(f"{'':<21}for: {escape(finding.purpose)}\n{'':<21}get: {escape(finding.how)}", style="dim")


@contextmanager
def _leaving_in_order() -> Iterator[None]:
    """A stack that is half up is taken down again, also when it is not Ctrl-C that ends us."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
