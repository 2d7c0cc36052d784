"""docker-compose.yml as one environment makes it: its services, their instances and containers, and the commands of
Docker that act on them.

A service is a row of the file; an instance is one of its replicas, and has the container of its name (replicas.py).
"""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from costlab.stack import ROOT, StackError, ports, replicas, wire
from costlab.stack.docker_engine import Container, DockerEngine

INTERNAL = 9000


class ComposeProject:
    """The project of an environment, ``given``. What a failed command wrote goes to ``log``."""

    def __init__(self, given: Mapping[str, str], log: Path) -> None:
        self.given = given
        self._log = log

    def names(self) -> list[str]:
        """Every service."""
        return list(self.services)

    def instances(self) -> list[str]:
        """Every instance of every service."""
        return [instance for name in self.names() for instance in self.instances_of(name)]

    def instances_of(self, service: str) -> list[str]:
        """As many as the file or the environment says."""
        number = (self.services[service].get("deploy") or {}).get("replicas", 1)
        return [replicas.instance(service, place) for place in range(1, number + 1)]

    def whole(self, instance: str) -> str:
        """The service that ``instance`` is one of; StackError names those there are."""
        if instance not in self.instances():
            raise StackError(f"no service {instance!r}; there are {', '.join(self.instances())}")
        return replicas.service_of(instance)

    def several(self, instance: str | None) -> bool:
        """Whether it is one of several."""
        return instance is not None and len(self.instances_of(self.whole(instance))) > 1

    def containers(self) -> dict[str, Container]:
        """Every container by the name of its instance."""
        return {container.name: container for container in self.engine.containers(self.name)}

    def container(self, instance: str) -> Container:
        """That of an instance; StackError when it has none."""
        self.whole(instance)
        found = self.containers().get(instance)
        if found is None:
            raise StackError(f"{instance} has no container: the stack is not up (costlab up --target compose)")
        return found

    def port(self, instance: str, target: int) -> int | None:
        """The loopback port under which ``target`` of an instance's container is published."""
        service = self.whole(instance)
        described = next((port for port in self.services[service].get("ports", ()) if port["target"] == target), None)
        if described is None:
            return None
        if described["published"].isdigit():
            return int(described["published"])
        container = self.containers().get(instance)
        return container.published.get(target) if container else None

    def public_port(self, instance: str) -> int | None:
        """Its first published port that is not the internal one."""
        targets = (port["target"] for port in self.services[self.whole(instance)].get("ports", ()))
        return next((self.port(instance, target) for target in targets if target != INTERNAL), None)

    def published(self, service: str) -> list[int]:
        """Its ports on loopback, or those of the range from which the engine gives one to each instance."""
        return [
            number for port in self.services[service].get("ports", ()) for number in ports.expand(port["published"])
        ]

    @cached_property
    def name(self) -> str:
        """Under which Docker knows its containers."""
        return self.given.get("COMPOSE_PROJECT_NAME") or yaml.safe_load(ports.COMPOSE_FILE.read_text())["name"]

    @cached_property
    def services(self) -> dict[str, dict[str, Any]]:
        """Those of docker-compose.yml as Compose reads it: variables filled in, one form for everything."""
        return json.loads(self.compose("config", "--format", "json"))["services"]

    @cached_property
    def environment(self) -> dict[str, str]:
        """What Compose is told. A stack that calls through toxiproxy goes on doing so, whoever restarts a part."""
        chosen = {wire.VARIABLE: "on" if self._has_toxiproxy() else "off"} | self.given
        return chosen | wire.variables(chosen)

    def _has_toxiproxy(self) -> bool:
        if self.given.get(wire.VARIABLE):
            return wire.is_on(self.given)
        with suppress(StackError):  # without Docker there is no stack
            return wire.TOXIPROXY in self.containers()
        return False

    # Docker

    @cached_property
    def engine(self) -> DockerEngine:
        """The one that the docker command would speak to."""
        command = [self.docker, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        return DockerEngine(_run(command, self.given).strip())

    @cached_property
    def docker(self) -> str:
        """The docker command."""
        found = shutil.which("docker", path=self.given.get("PATH", ""))
        if found is None:
            raise StackError(
                "no docker command on this machine: install Docker, or use the local stack, which needs none"
            )
        return found

    @cached_property
    def command(self) -> list[str]:
        """Compose 2 as a plugin of docker, or the program of its own that some systems install."""
        for candidate in ([self.docker, "compose"], ["docker-compose"]):
            if _is_version_2([*candidate, "version", "--short"], self.given):
                return [*candidate, "--ansi", "never", "--file", str(ROOT / "docker-compose.yml")]
        raise StackError("Docker is here but Compose 2 is not: install the docker-compose-plugin package")

    def run_docker(self, *arguments: str, fine: Sequence[int] = (0,)) -> None:
        """A docker command; its failure is one line, the rest goes to the log."""
        _run([self.docker, *arguments], self.environment, log=self._log, fine=fine)

    def compose(self, *arguments: str, hint: str = "", fine: Sequence[int] = (0,)) -> str:
        """The output of a Compose command; its failure is one line, the rest goes to the log."""
        command = [*self.command, *arguments]
        return _run(command, self.environment, log=self._log, hint=hint, fine=fine)

    def last_lines(self, container: Container) -> list[str]:
        """What a container wrote last."""
        command = [self.docker, "logs", "--tail", "40", container.id]
        return _run(command, self.environment, both=True).splitlines()


def _is_version_2(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether ``command`` is there, runs, and says that it is version 2 or later."""
    if shutil.which(command[0], path=environment.get("PATH", "")) is None:
        return False
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    version = re.match(r"v?(\d+)", done.stdout.strip())
    return done.returncode == 0 and version is not None and int(version[1]) >= 2


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
    raise StackError(with_hint(lines[-1].strip()) + (f" ({hint})" if hint else ""))


def with_hint(message: str) -> str:
    """A failure of Docker, and what to do about it where that is known."""
    if "no such host" in message or "failed to do request" in message:
        return f"{message} (no image registry is reached: infra/offline/build.sh makes stand-in images on Debian)"
    return message
