"""The stack in containers: ``docker compose`` on docker-compose.yml, with progress and one line per failure.

Everything that Compose understands from the environment holds here too: the images (``POSTGRES_IMAGE`` ...), the ports
(``COSTLAB_GATEWAY_PORT`` ...) and ``COMPOSE_PROJECT_NAME`` for a second stack. Two variables are ours:

COSTLAB_PORT_BASE   port of the gateway; every other published port moves along (28080: PostgreSQL on 25480)
COSTLAB_WITHOUT     services to leave out where their image cannot be had: prometheus, grafana, jaeger
COSTLAB_WIRE        on: every call goes through toxiproxy (wire.py); unset: as the running stack has it
"""

import json
import os
import re
import shutil
import signal as signals
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from costlab.stack import (
    ROOT,
    ServiceStatus,
    StackError,
    Usage,
    log_files,
    page,
    ports,
    replicas,
    restarting,
    seeing,
    wire,
)
from costlab.stack.docker_engine import Container, DockerEngine
from costlab.stack.kept_faults import KeptFaults, end_all
from costlab.stack.pausing import PausableContainer

HEALTHY_SECONDS = 180.0
_PUBLIC, _INTERNAL = 8000, 9000
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
        self._given = ports.moved(given) | _no_traces(self._without) | given
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
        self._compose("--profile", "load", "--profile", "chaos", "down", "--remove-orphans", *data)

    def status(self) -> list[ServiceStatus]:
        """One row for each service that should run; those that never were started are ``absent``."""
        found = self._containers()
        return [self._row(name, found.get(name)) for name in self._lasting()]

    def left_out(self) -> dict[str, str]:
        """Nothing: a container that does not start ends the start, and COSTLAB_WITHOUT is no failure."""
        return {}

    def logs(self, service: str | None = None, follow: bool = False) -> Iterator[str]:
        """Lines of the containers' logs, each with the name of its container in front."""
        options = ["--no-color", *(["--follow"] if follow else []), *([self._whole(service)] if service else [])]
        command = [*self._command, "logs", *options]
        of_one = self._several(service) and re.compile(rf"{service}(-1)? ")
        with subprocess.Popen(
            command, cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                # Compose 2.26 clears the line of a terminal that is not there.
                lines = (line.rstrip("\n").removeprefix("\x1b[2K") for line in process.stdout)
                yield from (line for line in lines if not of_one or of_one.match(line))
            finally:
                process.terminate()

    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port('gateway', _PUBLIC)}"

    def internal_urls(self) -> dict[str, str]:
        ports = {name: self._port(name, _INTERNAL) for name in self._instances()}
        return {name: f"http://127.0.0.1:{port}" for name, port in ports.items() if port}

    def token(self) -> str:
        return self._compose("exec", "-T", "gateway", "cat", "/run/costlab/token").strip()

    def dsn(self, role: str = "lab") -> str:
        password = self._services["postgres"]["environment"]["POSTGRES_PASSWORD"]
        return f"postgresql://{role}:{password}@127.0.0.1:{self._port('postgres', 5432)}/costlab"

    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self._port('redis', 6379)}/0"

    def toxiproxy_url(self) -> str | None:
        """Where toxiproxy takes orders; None where it is not in between."""
        if wire.TOXIPROXY not in self._services:
            return None
        return f"http://127.0.0.1:{self._port(wire.TOXIPROXY, wire.API)}"

    def usage(self) -> dict[str, Usage]:
        """CPU seconds and memory of each measured service's control groups: all its processes in all its containers."""
        measured = [c for c in self._containers().values() if c.running and c.service not in _APART]
        with ThreadPoolExecutor(len(measured) or 1) as together:
            figures = list(together.map(self._engine.cpu_seconds_and_memory, measured))
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
        command = ["exec", self._container(service).id, "sh", "-c", f"kill -s {name} -- -1"]
        # The shell that kills can be killed along with its container.
        self._run_docker(*command, fine=(0, _KILLED))

    def pausable(self, service: str) -> PausableContainer:
        """Its container."""
        found = self._container(service)
        if not found.running:
            raise StackError(f"{service} does not run")
        return PausableContainer(self._docker, found.id)

    def stop(self, service: str) -> None:
        """Stop ``service`` in an orderly way and leave it stopped."""
        KeptFaults(self.faults_folder, "process").end_on([service])
        self._end_at_once([service])
        # The engine keeps no such time for a container; Compose reads it off the file.
        seconds = self._services[self._whole(service)].get("stop_grace_period", "10s").removesuffix("s")
        self._run_docker("stop", "--time", seconds, self._container(service).id)

    def start(self, service: str) -> None:
        """Start ``service`` after ``stop``; returns when healthy."""
        self._run_docker("start", self._container(service).id)
        self._wait_healthy([service], lambda _line: None)

    def restart(self, *services: str) -> None:
        """Stop ``services`` in an orderly way, start them with the environment as it is now; returns when healthy.

        Compose makes all containers of a service anew or none: where only some of its instances are named, those keep
        the environment they have.
        """
        together = {self._whole(service) for service in services}
        whole = [name for name in together if set(self._instances_of(name)) <= set(services)]
        KeptFaults(self.faults_folder, "process").end_on(services)
        if whole:
            self._end_at_once([instance for name in whole for instance in self._instances_of(name)])
            self._compose("up", "--detach", "--no-build", "--no-deps", "--force-recreate", *whole)
        for service in services:
            if self._whole(service) not in whole:
                self.stop(service)
                self.start(service)
        self._wait_healthy(services, lambda _line: None)

    def _end_at_once(self, instances: Sequence[str]) -> None:
        """Kill those of ``instances`` that run, where service.shutdown says so; PostgreSQL and Redis never."""
        running = {name: container for name, container in self._containers().items() if container.running}
        doomed = [running[name].id for name in instances if name in running and self._port(name, _INTERNAL)]
        if doomed and restarting.shutdown_kind(self.redis_url()) == "kill":
            self._run_docker("kill", *doomed)

    # Starting

    def _build(self, report: Report) -> None:
        hint = "the whole output is in " + str(self._log)
        if self._own_image:
            report("building the image of the services")
            self._compose("build", "prepare", hint=hint)
        if self._own_toxiproxy and wire.TOXIPROXY in self._services:
            report("building the image of toxiproxy")
            self._compose("build", wire.TOXIPROXY, hint=hint)

    def _start(self, report: Report) -> None:
        names = [name for name in self._names() if name not in self._without]
        command = [*self._command, "up", "--detach", "--no-build", "--quiet-pull", *names]
        report("starting containers")
        shown: dict[str, str] = {}
        # The end of an earlier run must not be taken for a failure of this one.
        self._compose("rm", "--force", "prepare")
        with (
            self._log.open("ab") as log,
            subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=subprocess.STDOUT) as process,
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
                said = self._said(self._containers().get(late[0]))
                raise StackError(f"not healthy after {HEALTHY_SECONDS:.0f} s: {', '.join(late)}{said}")
            self._show_progress(shown, report)
            time.sleep(0.3)
        self._show_progress(shown, report)

    def _show_progress(self, shown: dict[str, str], report: Report) -> None:
        for name, container in sorted(self._containers().items()):
            state = _word(container)
            if state != shown.get(name) and state not in ("created", "starting"):
                report(f"{name}: {state}")
            shown[name] = state

    def _refuse_failed(self, patience: int = _GIVE_UP_RESTARTS) -> None:
        """One line about the first container that will not come up; ``patience`` is how many restarts are too many."""
        for name, container in self._containers().items():
            if container.state == "exited" and container.exit_code:
                raise StackError(f"{name} stopped with exit code {container.exit_code}{self._said(container)}")
            if container.restarts >= patience and not container.healthy:
                raise StackError(f"{name} starts and stops again and again{self._said(container)}")
            # A container that stopped counts as unhealthy until its next start, hence the restarts.
            if container.running and container.health == "unhealthy" and not container.restarts:
                raise StackError(f"{name} runs but its health check fails{self._said(container)}")

    def _refuse_taken_ports(self) -> None:
        """Before anything starts: a port that another program has. Ports of our own containers are ours."""
        running = self._containers()
        ours = {port for container in running.values() for port in container.published.values()}
        wanted = {port: name for name in self._names() if name not in self._without for port in self._published(name)}
        ports.refuse_taken({port: name for port, name in wanted.items() if port not in ours})

    # Looking

    def _containers(self) -> dict[str, Container]:
        """Every container by the name of its instance."""
        return {container.name: container for container in self._engine.containers(self._project)}

    def _container(self, instance: str) -> Container:
        self._whole(instance)
        found = self._containers().get(instance)
        if found is None:
            raise StackError(f"{instance} has no container: the stack is not up (costlab up --target compose)")
        return found

    def _unhealthy(self, names: Sequence[str]) -> list[str]:
        """Those of ``names`` that do not run, or whose health check is not green."""
        healthy = {name for name, container in self._containers().items() if container.healthy}
        return [name for name in names if name not in healthy]

    def _row(self, name: str, container: Container | None) -> ServiceStatus:
        running = container is not None and container.running
        cpu, memory = self._engine.cpu_seconds_and_memory(container) if running else (0.0, 0)
        internal = self._port(name, _INTERNAL)
        return ServiceStatus(
            name=name,
            state=container.state if container else "absent",
            healthy=container is not None and container.healthy,
            pid=container.pid if running else None,
            port=self._public_port(name),
            internal_port=internal,
            cpu_seconds=cpu,
            memory_bytes=memory,
            processes=self._engine.processes(container) if running else 0,
            url=page(name, self._public_port(name)),
        )

    def _lasting(self) -> list[str]:
        """The instances that should be running once the stack is up."""
        apart = (*self._without, "prepare")
        return [name for name in self._instances() if self._whole(name) not in apart]

    def _instances(self) -> list[str]:
        return [instance for name in self._names() for instance in self._instances_of(name)]

    def _instances_of(self, service: str) -> list[str]:
        number = (self._services[service].get("deploy") or {}).get("replicas", 1)
        return [replicas.instance(service, place) for place in range(1, number + 1)]

    def _names(self) -> list[str]:
        return list(self._services)

    def _whole(self, instance: str) -> str:
        """The service that ``instance`` is one of."""
        if instance not in self._instances():
            raise StackError(f"no service {instance!r}; there are {', '.join(self._instances())}")
        return replicas.service_of(instance)

    def _several(self, instance: str | None) -> bool:
        return instance is not None and len(self._instances_of(self._whole(instance))) > 1

    def _public_port(self, instance: str) -> int | None:
        """Its first published port that is not the internal one."""
        targets = (port["target"] for port in self._services[self._whole(instance)].get("ports", ()))
        return next((self._port(instance, target) for target in targets if target != _INTERNAL), None)

    def _published(self, service: str) -> list[int]:
        """Its ports on loopback, or those of the range from which the engine gives one to each instance."""
        return [
            number for port in self._services[service].get("ports", ()) for number in ports.expand(port["published"])
        ]

    def _port(self, instance: str, target: int) -> int | None:
        """The loopback port under which ``target`` of an instance's container is published."""
        service = self._whole(instance)
        described = next((port for port in self._services[service].get("ports", ()) if port["target"] == target), None)
        if described is None:
            return None
        if described["published"].isdigit():
            return int(described["published"])
        container = self._containers().get(instance)
        return container.published.get(target) if container else None

    def _said(self, container: Container | None) -> str:
        """The line of a container that says why it failed, as the end of a sentence."""
        command = [self._docker, "logs", "--tail", "40", container.id] if container else []
        lines = _run(command, self._environment, both=True).splitlines() if command else []
        said = log_files.reason(lines)
        return f": {said}" if said else f" (it wrote nothing; more in {self._log})"

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["no output"]
        return _with_hint(lines[-1].strip())

    # Docker

    @cached_property
    def _services(self) -> dict[str, dict[str, Any]]:
        return self._topology["services"]

    @property
    def faults_folder(self) -> Path:
        return self.folder / "chaos" / self._project

    @cached_property
    def _project(self) -> str:
        return self._given.get("COMPOSE_PROJECT_NAME") or yaml.safe_load(ports.COMPOSE_FILE.read_text())["name"]

    @cached_property
    def _environment(self) -> dict[str, str]:
        """What Compose is told. A stack that calls through toxiproxy goes on doing so, whoever restarts a part."""
        chosen = {wire.VARIABLE: "on" if self._has_toxiproxy() else "off"} | self._given
        return chosen | wire.variables(chosen)

    def _has_toxiproxy(self) -> bool:
        if self._given.get(wire.VARIABLE):
            return wire.is_on(self._given)
        with suppress(StackError):  # without Docker there is no stack
            return wire.TOXIPROXY in self._containers()
        return False

    @cached_property
    def _topology(self) -> dict[str, Any]:
        """docker-compose.yml as Compose reads it: variables filled in, one form for everything."""
        return json.loads(self._compose("config", "--format", "json"))

    @cached_property
    def _engine(self) -> DockerEngine:
        command = [self._docker, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        return DockerEngine(_run(command, self._given).strip())

    @cached_property
    def _docker(self) -> str:
        found = shutil.which("docker", path=self._given.get("PATH", ""))
        if found is None:
            raise StackError(
                "no docker command on this machine: install Docker, or use the local stack, which needs none"
            )
        return found

    @cached_property
    def _command(self) -> list[str]:
        """Compose 2 as a plugin of docker, or the program of its own that some systems install."""
        for candidate in ([self._docker, "compose"], ["docker-compose"]):
            if _is_version_2([*candidate, "version", "--short"], self._given):
                return [*candidate, "--ansi", "never", "--file", str(ROOT / "docker-compose.yml")]
        raise StackError("Docker is here but Compose 2 is not: install the docker-compose-plugin package")

    def _run_docker(self, *arguments: str, fine: Sequence[int] = (0,)) -> None:
        _run([self._docker, *arguments], self._environment, log=self._log, fine=fine)

    def _compose(self, *arguments: str, hint: str = "", fine: Sequence[int] = (0,)) -> str:
        """The output of a Compose command; its failure is one line, the rest goes to the log."""
        command = [*self._command, *arguments]
        return _run(command, self._environment, log=self._log, hint=hint, fine=fine)


def _is_version_2(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether ``command`` is there, runs, and says that it is version 2 or later."""
    if shutil.which(command[0], path=environment.get("PATH", "")) is None:
        return False
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    version = re.match(r"v?(\d+)", done.stdout.strip())
    return done.returncode == 0 and version is not None and int(version[1]) >= 2


def _word(container: Container) -> str:
    """The state of a container in a word, with its health where it has a check."""
    if container.state == "exited":
        return "done" if container.exit_code == 0 else f"stopped with exit code {container.exit_code}"
    return (container.health or "running") if container.running else container.state


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path | None = None,
    hint: str = "",
    both: bool = False,
    fine: Sequence[int] = (0,),
) -> str:
    """What ``command`` wrote on stdout (``both``: on stderr too).

    An exit code that is not ``fine`` is one line, and the rest goes to ``log``.
    """
    stderr = subprocess.STDOUT if both else subprocess.PIPE
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode in fine:
        return done.stdout
    said = done.stdout + (done.stderr or "")
    if log and log.parent.is_dir():
        with log.open("a") as file:
            file.write(said)
    lines = (said.strip() or f"exit code {done.returncode}").splitlines()
    raise StackError(_with_hint(lines[-1].strip()) + (f" ({hint})" if hint else ""))


def _with_hint(message: str) -> str:
    if "no such host" in message or "failed to do request" in message:
        return f"{message} (no image registry is reached: infra/offline/build.sh makes stand-in images on Debian)"
    return message


def _no_traces(without: Sequence[str]) -> dict[str, str]:
    """Where Jaeger is left out, spans go nowhere instead of to a host that is not there."""
    return {"COSTLAB_OTLP_ENDPOINT": ""} if "jaeger" in without else {}
