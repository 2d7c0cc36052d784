"""Starting services in parallel, each as soon as all it needs are ready."""

import time
from collections.abc import Callable, Iterable

from costlab.stack import StackError, log_files
from costlab.stack.readiness import is_ready
from costlab.stack.supervision import ProgramState, Supervisor
from costlab.stack.topology import Service

READY_SECONDS = 120.0
_STOP_SECONDS = 30.0
_TICK_SECONDS = 0.03

Report = Callable[[str], None]


def bring_up(
    supervisor: Supervisor, services: Iterable[Service], report: Report, patience: float = READY_SECONDS
) -> None:
    """Start what of ``services`` does not run; returns when all are ready, or raises with the reason of the first
    that will not be, after ``patience`` seconds at the latest. What they depend on outside ``services`` is taken to be
    there.
    """
    waiting = {service.name: service for service in services}
    started: dict[str, float] = {}
    written = {name: log_files.size(supervisor.log(name)) for name in waiting}
    deadline = time.monotonic() + patience
    while waiting:
        states = supervisor.programs()
        for name, service in list(waiting.items()):
            if name not in started:
                if not any(needed in waiting for needed in service.depends_on):
                    _start(supervisor, service, states[name])
                    started[name] = time.monotonic()
            elif _is_up(service, states[name], supervisor, written[name]):
                report(f"{name} {'done' if service.once else 'ready'} ({time.monotonic() - started[name]:.1f} s)")
                del waiting[name]
        if time.monotonic() > deadline:
            raise StackError(_too_late(waiting, started, supervisor, written, patience))
        time.sleep(_TICK_SECONDS)


def _start(supervisor: Supervisor, service: Service, state: ProgramState) -> None:
    if state.state == "BACKOFF":  # it crashes again and again: a new attempt now, and its reason if that fails too
        supervisor.stop([service.name], _STOP_SECONDS)
    if not state.alive:
        supervisor.start(service.name)


def _is_up(service: Service, state: ProgramState, supervisor: Supervisor, written: int) -> bool:
    """Ready, or (for one that runs once) done."""
    if service.once and state.state == "EXITED" and state.exit_code == 0:
        return True
    if not state.alive:
        said = log_files.cause(supervisor.log(service.name), written)
        for repeated in (f"{service.name}: ", "failed: ", "cannot start: "):
            said = said.removeprefix(repeated)
        raise StackError(f"{service.name} {'failed' if service.once else 'did not start'}: {said}")
    return not service.once and is_ready(service)


def _too_late(
    waiting: dict[str, Service],
    started: dict[str, float],
    supervisor: Supervisor,
    written: dict[str, int],
    patience: float,
) -> str:
    first = next(name for name in waiting if name in started)
    reason = log_files.cause(supervisor.log(first), written[first])
    return f"{first} was not ready after {patience:.0f} s; its last word: {reason}"
