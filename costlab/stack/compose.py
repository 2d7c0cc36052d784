"""The stack in containers: ``docker compose`` on docker-compose.yml, with progress and one line per failure.

Everything that Compose understands from the environment holds here too: the images (``POSTGRES_IMAGE`` ...), the ports
(``COSTLAB_GATEWAY_PORT`` ...) and ``COMPOSE_PROJECT_NAME`` for a second stack. Two variables are ours:

COSTLAB_PORT_BASE   port of the gateway; every other published port moves along (28080: PostgreSQL on 25480)
COSTLAB_WITHOUT     services to leave out where their image cannot be had: prometheus, grafana, jaeger
COSTLAB_WIRE        on: every call goes through toxiproxy (wire.py); unset: as the running stack has it
"""

import os
import re
import signal as signals
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from costlab.stack import (
    ROOT,
    ServiceStatus,
    StackError,
    Usage,
    log_files,
    page,
    ports,
    restarting,
    seeing,
    wire,
)
from costlab.stack.compose_project import INTERNAL, ComposeProject, with_hint
from costlab.stack.docker_engine import Container
from costlab.stack.kept_faults import KeptFaults, end_all
from costlab.stack.pausing import PausableContainer

HEALTHY_SECONDS = 180.0
_PUBLIC = 8000
# What watches the stack or prepares it: no part of what an experiment measures, and not needed to run one.
_APART = (*seeing.NAMES, "k6", "prepare", wire.TOXIPROXY)
_GIVE_UP_RESTARTS = 3
_KILLED = 128 + signals.SIGKILL

Report = Callable[[str], None]


class ComposeStack:
    """The services of docker-compose.yml in containers of this machine's Docker engine.

    ``state`` is the folder for logs of builds and starts; ``environment`` replaces this process's own.
    """

    name = "compose"

    def __init__(self, state: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        given = dict(os.environ if environment is None else environment)
        self.folder = state or ROOT / ".costlab" / "compose"
        self._log = self.folder / "compose.log"
        self._without = seeing.left_out(given.get(seeing.WITHOUT, ""))
        self._project = ComposeProject(ports.moved(given) | _no_traces(self._without) | given, self._log)
        self._own_image = "COSTLAB_IMAGE" not in given
        self._own_toxiproxy = "TOXIPROXY_IMAGE" not in given

    def up(self, report: Report) -> None:
        """Build the image and start everything; returns when every health check is green."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._log.write_bytes(b"")
        if self._without:
            report(f"left out, as COSTLAB_WITHOUT says: {', '.join(self._without)}")
        if not self._unhealthy(self._lasting()):
            report(f"the stack is up already: {self.base_url()}")
            return
        self._refuse_taken_ports()
        try:
            self._build(report)
            self._start(report)
        except BaseException:
            self.down()
            raise

    def down(self, volumes: bool = False) -> None:
        """Stop and remove containers and network; the data (``volumes``) stays unless told otherwise."""
        end_all(self.faults_folder)
        data = ["--volumes"] if volumes else []
        self._project.compose("--profile", "load", "--profile", "chaos", "down", "--remove-orphans", *data)

    def status(self) -> list[ServiceStatus]:
        """One row for each service that should run; those that never were started are ``absent``."""
        found = self._project.containers()
        return [self._row(name, found.get(name)) for name in self._lasting()]

    def left_out(self) -> dict[str, str]:
        """Nothing: a container that does not start ends the start, and COSTLAB_WITHOUT is no failure."""
        return {}

    def logs(self, service: str | None = None, follow: bool = False) -> Iterator[str]:
        """Lines of the containers' logs, each with the name of its container in front."""
        options = [
            "--no-color",
            *(["--follow"] if follow else []),
            *([self._project.whole(service)] if service else []),
        ]
        command = [*self._project.command, "logs", *options]
        of_one = self._project.several(service) and re.compile(rf"{service}(-1)? ")
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=self._project.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                # Compose 2.26 clears the line of a terminal that is not there.
                lines = (line.rstrip("\n").removeprefix("\x1b[2K") for line in process.stdout)
                yield from (line for line in lines if not of_one or of_one.match(line))
            finally:
                process.terminate()

    @property
    def faults_folder(self) -> Path:
        return self.folder / "chaos" / self._project.name

    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._project.port('gateway', _PUBLIC)}"

    def internal_urls(self) -> dict[str, str]:
        ports = {name: self._project.port(name, INTERNAL) for name in self._project.instances()}
        return {name: f"http://127.0.0.1:{port}" for name, port in ports.items() if port}

    def token(self) -> str:
        return self._project.compose("exec", "-T", "gateway", "cat", "/run/costlab/token").strip()

    def dsn(self, role: str = "lab") -> str:
        password = self._project.services["postgres"]["environment"]["POSTGRES_PASSWORD"]
        return f"postgresql://{role}:{password}@127.0.0.1:{self._project.port('postgres', 5432)}/costlab"

    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self._project.port('redis', 6379)}/0"

    def toxiproxy_url(self) -> str | None:
        """Where toxiproxy takes orders; None where it is not in between."""
        if wire.TOXIPROXY not in self._project.services:
            return None
        return f"http://127.0.0.1:{self._project.port(wire.TOXIPROXY, wire.API)}"

    def usage(self) -> dict[str, Usage]:
        """CPU seconds and memory of each measured service's control groups: all its processes in all its containers."""
        measured = [c for c in self._project.containers().values() if c.running and c.service not in _APART]
        with ThreadPoolExecutor(len(measured) or 1) as together:
            figures = list(together.map(self._project.engine.cpu_seconds_and_memory, measured))
        used = {container.service: Usage(0.0, 0, "cgroup") for container in measured}
        for container, (cpu, memory) in zip(measured, figures, strict=True):
            before = used[container.service]
            used[container.service] = Usage(before.cpu_seconds + cpu, before.memory_bytes + memory, "cgroup")
        return used

    def kill(self, service: str, signal: int) -> None:
        """Send ``signal`` to every process of ``service`` but the container's process 1.

        From inside, as a crash would come: after ``docker kill`` the engine takes the stop for wanted and does not
        start the container again.
        """
        name = signals.Signals(signal).name.removeprefix("SIG")
        command = ["exec", self._project.container(service).id, "sh", "-c", f"kill -s {name} -- -1"]
        # The shell that kills can be killed along with its container.
        self._project.run_docker(*command, fine=(0, _KILLED))

    def pausable(self, service: str) -> PausableContainer:
        """Its container."""
        found = self._project.container(service)
        if not found.running:
            raise StackError(f"{service} does not run")
        return PausableContainer(self._project.docker, found.id)

    def stop(self, service: str) -> None:
        """Stop ``service`` in an orderly way and leave it stopped."""
        KeptFaults(self.faults_folder, "process").end_on([service])
        self._end_at_once([service])
        # The engine keeps no such time for a container; Compose reads it off the file.
        seconds = self._project.services[self._project.whole(service)].get("stop_grace_period", "10s").removesuffix("s")
        self._project.run_docker("stop", "--time", seconds, self._project.container(service).id)

    def start(self, service: str) -> None:
        """Start ``service`` after ``stop``; returns when healthy."""
        self._project.run_docker("start", self._project.container(service).id)
        self._wait_healthy([service], lambda _line: None)

    def restart(self, *services: str) -> None:
        """Stop ``services`` in an orderly way, start them with the environment as it is now; returns when healthy.

        Compose makes all containers of a service anew or none: where only some of its instances are named, those keep
        the environment they have.
        """
        together = {self._project.whole(service) for service in services}
        whole = [name for name in together if set(self._project.instances_of(name)) <= set(services)]
        KeptFaults(self.faults_folder, "process").end_on(services)
        if whole:
            self._end_at_once([instance for name in whole for instance in self._project.instances_of(name)])
            self._project.compose("up", "--detach", "--no-build", "--no-deps", "--force-recreate", *whole)
        for service in services:
            if self._project.whole(service) not in whole:
                self.stop(service)
                self.start(service)
        self._wait_healthy(services, lambda _line: None)

    def _end_at_once(self, instances: Sequence[str]) -> None:
        """Kill those of ``instances`` that run, where service.shutdown says so; PostgreSQL and Redis never."""
        running = {name: container for name, container in self._project.containers().items() if container.running}
        doomed = [running[name].id for name in instances if name in running and self._project.port(name, INTERNAL)]
        if doomed and restarting.shutdown_kind(self.redis_url()) == "kill":
            self._project.run_docker("kill", *doomed)

    # Starting

    def _build(self, report: Report) -> None:
        hint = "the whole output is in " + str(self._log)
        if self._own_image:
            report("building the image of the services")
            self._project.compose("build", "prepare", hint=hint)
        if self._own_toxiproxy and wire.TOXIPROXY in self._project.services:
            report("building the image of toxiproxy")
            self._project.compose("build", wire.TOXIPROXY, hint=hint)

    def _start(self, report: Report) -> None:
        names = [name for name in self._project.names() if name not in self._without]
        command = [*self._project.command, "up", "--detach", "--no-build", "--quiet-pull", *names]
        report("starting containers")
        shown: dict[str, str] = {}
        # The end of an earlier run must not be taken for a failure of this one.
        self._project.compose("rm", "--force", "prepare")
        with (
            self._log.open("ab") as log,
            subprocess.Popen(
                command, cwd=ROOT, env=self._project.environment, stdout=log, stderr=subprocess.STDOUT
            ) as process,
        ):
            try:
                while process.poll() is None:
                    self._show_progress(shown, report)
                    self._refuse_failed()
                    time.sleep(0.3)
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            self._refuse_failed(patience=1)
            raise StackError(f"docker compose up: {self._last_words()}")
        self._wait_healthy(self._lasting(), report, shown)

    def _wait_healthy(self, names: Sequence[str], report: Report, shown: dict[str, str] | None = None) -> None:
        shown = {} if shown is None else shown
        deadline = time.monotonic() + HEALTHY_SECONDS
        while late := self._unhealthy(names):
            self._refuse_failed()
            if time.monotonic() > deadline:
                said = self._said(self._project.containers().get(late[0]))
                raise StackError(f"not healthy after {HEALTHY_SECONDS:.0f} s: {', '.join(late)}{said}")
            self._show_progress(shown, report)
            time.sleep(0.3)
        self._show_progress(shown, report)

    def _show_progress(self, shown: dict[str, str], report: Report) -> None:
        for name, container in sorted(self._project.containers().items()):
            state = _word(container)
            if state != shown.get(name) and state not in ("created", "starting"):
                report(f"{name}: {state}")
            shown[name] = state

    def _refuse_failed(self, patience: int = _GIVE_UP_RESTARTS) -> None:
        """One line about the first container that will not come up; ``patience`` is how many restarts are too many."""
        for name, container in self._project.containers().items():
            if container.state == "exited" and container.exit_code:
                raise StackError(f"{name} stopped with exit code {container.exit_code}{self._said(container)}")
            if container.restarts >= patience and not container.healthy:
                raise StackError(f"{name} starts and stops again and again{self._said(container)}")
            # A container that stopped counts as unhealthy until its next start, hence the restarts.
            if container.running and container.health == "unhealthy" and not container.restarts:
                raise StackError(f"{name} runs but its health check fails{self._said(container)}")

    def _refuse_taken_ports(self) -> None:
        """Before anything starts: a port that another program has. Ports of our own containers are ours."""
        running = self._project.containers()
        ours = {port for container in running.values() for port in container.published.values()}
        wanted = {
            port: name
            for name in self._project.names()
            if name not in self._without
            for port in self._project.published(name)
        }
        ports.refuse_taken({port: name for port, name in wanted.items() if port not in ours})

    # Looking

    def _unhealthy(self, names: Sequence[str]) -> list[str]:
        """Those of ``names`` that do not run, or whose health check is not green."""
        healthy = {name for name, container in self._project.containers().items() if container.healthy}
        return [name for name in names if name not in healthy]

    def _row(self, name: str, container: Container | None) -> ServiceStatus:
        running = container is not None and container.running
        cpu, memory = self._project.engine.cpu_seconds_and_memory(container) if running else (0.0, 0)
        internal = self._project.port(name, INTERNAL)
        return ServiceStatus(
            name=name,
            state=container.state if container else "absent",
            healthy=container is not None and container.healthy,
            pid=container.pid if running else None,
            port=self._project.public_port(name),
            internal_port=internal,
            cpu_seconds=cpu,
            memory_bytes=memory,
            processes=self._project.engine.processes(container) if running else 0,
            url=page(name, self._project.public_port(name)),
        )

    def _lasting(self) -> list[str]:
        """The instances that should be running once the stack is up."""
        apart = (*self._without, "prepare")
        return [name for name in self._project.instances() if self._project.whole(name) not in apart]

    def _said(self, container: Container | None) -> str:
        """The line of a container that says why it failed, as the end of a sentence."""
        said = log_files.reason(self._project.last_lines(container)) if container else ""
        return f": {said}" if said else f" (it wrote nothing; more in {self._log})"

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["no output"]
        return with_hint(lines[-1].strip())


def _word(container: Container) -> str:
    """The state of a container in a word, with its health where it has a check."""
    if container.state == "exited":
        return "done" if container.exit_code == 0 else f"stopped with exit code {container.exit_code}"
    return (container.health or "running") if container.running else container.state


def _no_traces(without: Sequence[str]) -> dict[str, str]:
    """Where Jaeger is left out, spans go nowhere instead of to a host that is not there."""
    return {"COSTLAB_OTLP_ENDPOINT": ""} if "jaeger" in without else {}
