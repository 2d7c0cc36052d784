"""Where the system under test runs: as local processes or as containers, behind one interface.

stack = open_stack("local")
stack.up(print)
stack.base_url()        # http://127.0.0.1:8080
stack.usage()["orders"] # Usage(cpu_seconds=1.93, memory_bytes=61_865_984, memory_kind='pss')
stack.down()
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from costlab.failure import Failure

if TYPE_CHECKING:
    from costlab.stack.pausing import Pausable

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("local", "compose")


class StackError(Failure):
    """A stack cannot be started, reached or stopped; the message is one line."""


class NotUp(StackError):
    """No service of the stack runs."""

    exit_code = 3


@dataclass(frozen=True)
class ServiceStatus:
    """One instance of a service as it is now. ``cpu_seconds`` counts since it started; ``pid`` is its first process.

    ``name`` is the service's, and from the second instance on has its number: users, users-2 (see replicas.py).
    ``url``: where a person looks, of those that have a page or a public API.
    """

    name: str
    state: str
    healthy: bool
    pid: int | None
    port: int | None
    internal_port: int | None
    cpu_seconds: float
    memory_bytes: int
    processes: int
    url: str | None = None


def page(name: str, port: int | None) -> str | None:
    """The address to open, of what is there for people."""
    return f"http://127.0.0.1:{port}" if port and name in ("gateway", "prometheus", "grafana", "jaeger") else None


@dataclass(frozen=True)
class Usage:
    """What all processes of a service have used together: CPU seconds since its start, memory now.

    ``memory_kind`` says what the bytes are. "pss" (proportional set size: pages shared by n processes count 1/n in
    each) and "cgroup" can be added up over services; "rss" (macOS) counts shared pages once in every process.
    """

    cpu_seconds: float
    memory_bytes: int
    memory_kind: Literal["pss", "rss", "cgroup"]


class Stack(Protocol):
    """A running (or stopped) system under test. ``folder``: what this machine keeps of it; ``faults_folder``: the
    records of its faults that need a keeper (kept_faults.py).

    Where a service runs as several instances, ``service`` below is the name of one: users, users-2, users-3.
    """

    name: str
    folder: Path
    faults_folder: Path

    def up(self, report: Callable[[str], None]) -> None:
        """Start everything; returns when every service is ready. Says so and returns when it runs already."""

    def down(self, volumes: bool = False) -> None:
        """Stop everything and return when it is gone; ``volumes`` removes the data too."""

    def status(self) -> list[ServiceStatus]: ...

    def left_out(self) -> dict[str, str]:
        """What of Prometheus, Grafana and Jaeger was to be there and is not, and why (seeing.py)."""

    def logs(self, service: str | None, follow: bool) -> Iterator[str]:
        """Lines of the logs of one service, or of all with the service's name in front."""

    def base_url(self) -> str:
        """The gateway, for instance http://127.0.0.1:8080."""

    def internal_urls(self) -> dict[str, str]:
        """Instance to the base URL of its internal port (metrics, flags)."""

    def token(self) -> str:
        """What it takes to change flags."""

    def dsn(self, role: str = "lab") -> str:
        """The libpq URL of the database for ``role``."""

    def redis_url(self) -> str: ...

    def toxiproxy_url(self) -> str | None:
        """Where toxiproxy takes orders; None where calls do not go through it (wire.py)."""

    def usage(self) -> dict[str, Usage]:
        """What each service has used, all its instances together, PostgreSQL and Redis included."""

    def kill(self, service: str, signal: int) -> None:
        """Send ``signal`` to every process of ``service``."""

    def pausable(self, service: str) -> "Pausable":
        """``service`` as something that can be paused."""

    def stop(self, service: str) -> None:
        """Stop ``service`` in an orderly way and leave it stopped; returns when it is gone."""

    def start(self, service: str) -> None:
        """Start ``service`` after ``stop``; returns when ready."""

    def restart(self, *services: str) -> None:
        """Stop ``services`` in an orderly way and start them with the environment as it is now; returns when ready."""


def open_stack(
    target: str,
    state: Path | None = None,
    port_base: int | None = None,
    through_toxiproxy: bool = False,
    seeing: bool | None = None,
) -> Stack:
    """The stack at ``target``: "local" or "compose", running or not, or the URL of the gateway of one that runs.

    ``state`` is its folder (default: <COSTLAB_STATE or .costlab in the project>/<target>), ``port_base`` the port of
    its gateway, from which all other ports follow (default: COSTLAB_PORT_BASE, else 8080). ``through_toxiproxy``: as
    with COSTLAB_WIRE=on, its calls go through toxiproxy (wire.py). ``seeing``: whether a local stack that is
    started brings Prometheus, Grafana and Jaeger along where they are found (default: COSTLAB_SEEING, else not).
    """
    if "://" in target:
        return _behind(target, state, port_base, through_toxiproxy, seeing)
    environment = dict(os.environ)
    if port_base is not None:
        # Asked for explicitly: no single port out of the environment may lead elsewhere.
        environment = {name: value for name, value in environment.items() if not _names_a_port(name)}
        environment["COSTLAB_PORT_BASE"] = str(port_base)
    folder = (state or Path(environment.get("COSTLAB_STATE") or ROOT / ".costlab") / target).absolute()
    if through_toxiproxy:
        environment["COSTLAB_WIRE"] = "on"
    if seeing is not None:
        environment["COSTLAB_SEEING"] = "on" if seeing else "off"
    if target == "local":
        from costlab.stack.local import LocalStack

        return LocalStack(folder, environment)
    if target == "compose":
        from costlab.stack.compose import ComposeStack

        return ComposeStack(folder, environment)
    raise StackError(f"no target {target!r}; there are {', '.join(TARGETS)} and the URL of a gateway that runs")


def _behind(url: str, *settings: Any) -> Stack:
    """The running stack of this folder whose gateway is at ``url``: no other has its token, processes and database."""
    asked = url.rstrip("/").replace("//localhost:", "//127.0.0.1:")
    found = {}
    for target in TARGETS:
        with suppress(StackError):  # no Docker engine, for instance
            stack = open_stack(target, *settings)
            if any(service.pid for service in stack.status()):
                found[stack.base_url()] = stack
    if asked in found:
        return found[asked]
    there = f"; there is {' and '.join(found)}" if found else ": costlab up starts one"
    raise NotUp(f"no stack of this project has its gateway at {url}{there}")


def require_up(stack: Stack) -> None:
    """NotUp unless a service of ``stack`` runs."""
    if not any(service.pid for service in stack.status()):
        raise NotUp(f"no {stack.name} stack runs: costlab up{_option(stack.name)} starts one")


def _option(target: str) -> str:
    return "" if target == "local" else f" --target {target}"


def _names_a_port(variable: str) -> bool:
    return variable.startswith("COSTLAB_") and variable.endswith("_PORT")
