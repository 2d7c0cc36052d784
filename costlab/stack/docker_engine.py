"""The Docker Engine's own interface, read-only: what Compose does not tell (health, restarts, CPU seconds, memory).

Spoken over the engine's Unix socket, because ``docker stats`` gives percentages and an experiment needs counters.
Source: Docker Engine API v1.41, https://docs.docker.com/engine/api/
"""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

from costlab.stack import StackError, control_group, replicas

_VERSION = "/v1.41"
_ANSWER_SECONDS = 10.0
_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"
_NUMBER = "com.docker.compose.container-number"


@dataclass(frozen=True)
class Container:
    """One container of a Compose project. ``health`` is None where no health check is defined.

    ``name`` is that of the instance: users, users-2. ``published``: port in the container to port on this machine.
    """

    id: str
    name: str
    service: str
    state: str  # created, running, paused, restarting, exited, dead
    health: str | None  # starting, healthy, unhealthy
    exit_code: int
    restarts: int
    pid: int
    published: Mapping[int, int]

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def healthy(self) -> bool:
        return self.running and self.health in ("healthy", None)


class DockerEngine:
    """A Docker engine at ``host``, for instance ``unix:///var/run/docker.sock``."""

    def __init__(self, host: str) -> None:
        scheme, _, self._path = host.partition("://")
        if scheme != "unix":
            raise StackError(f"the Docker engine is at {host}; only one on this machine (unix://...) can be measured")

    def containers(self, project: str) -> list[Container]:
        """The containers of ``project``, stopped ones too."""
        chosen = quote(json.dumps({"label": [f"{_PROJECT}={project}"]}))
        found = self._get(f"/containers/json?all=1&filters={chosen}")
        return [container for item in found if (container := self._inspect(item["Id"]))]

    def cpu_seconds_and_memory(self, container: Container) -> tuple[float, int]:
        """CPU seconds since the container started, and bytes in use without the page cache that could be dropped."""
        return control_group.cpu_seconds_and_memory(container.pid, container.id) or self._stats(container)

    def processes(self, container: Container) -> int:
        """How many processes run in the container; none in one that is just ending, for which the engine says null."""
        return len(self._get(f"/containers/{container.id}/top")["Processes"] or ())

    def _stats(self, container: Container) -> tuple[float, int]:
        """The same from the engine, where it runs on another kernel (Docker Desktop)."""
        stats = self._get(f"/containers/{container.id}/stats?stream=false&one-shot=true")
        memory = stats["memory_stats"]
        details = memory.get("stats", {})
        droppable = details.get("total_inactive_file", details.get("inactive_file", 0))
        return stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9, max(0, memory.get("usage", 0) - droppable)

    def _inspect(self, identity: str) -> Container | None:
        """None when the container went away between two questions."""
        found = self._get(f"/containers/{identity}/json", missing=True)
        if found is None:
            return None
        state, labels = found["State"], found["Config"]["Labels"]
        return Container(
            id=identity,
            name=replicas.instance(labels[_SERVICE], int(labels.get(_NUMBER, 1))),
            service=labels[_SERVICE],
            state=state["Status"],
            health=state.get("Health", {}).get("Status"),
            exit_code=state["ExitCode"],
            restarts=found["RestartCount"],
            pid=state["Pid"],
            published=_published(found["NetworkSettings"]["Ports"] or {}),
        )

    def _get(self, path: str, missing: bool = False) -> Any:
        connection = _UnixConnection(self._path)
        try:
            connection.request("GET", _VERSION + path)
            answer = connection.getresponse()
            document = json.loads(answer.read())
        except (OSError, HTTPException, ValueError) as error:
            raise StackError(
                f"no Docker engine answers at {self._path} ({error}): start Docker (infra/offline/build.sh does)"
            ) from error
        finally:
            connection.close()
        if answer.status == 404 and missing:
            return None
        if answer.status != 200:
            raise StackError(f"Docker engine: {document.get('message', answer.status)}")
        return document


def _published(ports: Mapping[str, Any]) -> dict[int, int]:
    return {int(name.partition("/")[0]): int(to[0]["HostPort"]) for name, to in ports.items() if to}


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
