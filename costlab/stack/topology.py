"""docker-compose.yml as the local runner reads it: what to start, in which order, with which environment.

Our own services (those that run the image built here) and postgres and redis become processes, and where they are
asked for toxiproxy (wire.py), prometheus, grafana and jaeger (seeing.py); k6 stays out. What a container would see is
translated for a process on loopback:

    http://users:8000       ->  http://127.0.0.1:8081       another service, by its port of ports.py
    http://users:8000       ->  http://127.0.0.1:8141,http://127.0.0.1:8142   where it has two instances (replicas.py)
    http://toxiproxy:8476   ->  http://127.0.0.1:8422       another service, through toxiproxy (wire.py)
    0.0.0.0:9000            ->  127.0.0.1:9081              where the service itself listens
    /run/costlab/token      ->  <state>/control/token       a file in a named volume
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from costlab.stack import StackError, ports, replicas, seeing, wire
from costlab.stack.interpolation import interpolate

EMBEDDED = ("postgres", "redis", wire.TOXIPROXY)
# The same for whatever is compared, and no part of what a pattern costs.
APPARATUS = (wire.TOXIPROXY, *seeing.NAMES)
PUBLIC, INTERNAL = 8000, 9000
_CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
# A host is what follows // or @; "users:8000" in front of an @ would be a name and a password.
_HOST = re.compile(r"(?:(?<=//)|(?<=@))([a-z][a-z0-9-]*:\d+)(?=[/?#]|$)")
_LISTENED = {
    "postgres": (5432,),
    "redis": (6379,),
    wire.TOXIPROXY: (wire.API, *(edge.port for edge in wire.edges())),
    **{name: door.listens for name, door in seeing.DOORS.items()},
}


@dataclass(frozen=True)
class Service:
    """One instance of a service, ports as inside its container, until ``Topology.on_loopback`` translates it."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    depends_on: tuple[str, ...]
    published: Mapping[int, int]  # port in the container to port on this machine
    volumes: Mapping[str, str]  # path in the container to name of the volume
    once: bool  # runs to its end at every start, instead of staying

    @property
    def service(self) -> str:
        """The service it is an instance of: users, for users-2 too."""
        return replicas.service_of(self.name)

    @property
    def listens(self) -> tuple[int, ...]:
        """The container's ports that this service opens."""
        if self.name in _LISTENED:
            return _LISTENED[self.name]
        return () if self.once else (PUBLIC, INTERNAL)

    def port(self, container_port: int) -> int:
        """Its place on this machine.

        A port that Compose keeps within its network lies as far from the published internal one as in the container:
        users publishes 9000 as 9081, so its 8000 is 8081.
        """
        if container_port in self.published:
            return self.published[container_port]
        near = _LISTENED[self.name][0] if self.name in APPARATUS else INTERNAL
        if near not in self.published:
            raise StackError(f"docker-compose.yml: {self.name} publishes neither {container_port} nor {near}")
        return self.published[near] + container_port - near


class Topology:
    """The instances that run as processes, in an order in which each comes after those it needs."""

    def __init__(self, services: Mapping[str, Service], addresses: seeing.Addresses | None = None) -> None:
        self.services = dict(services)
        self.addresses = addresses or {}

    @classmethod
    def read(cls, file: Path, environment: Mapping[str, str]) -> "Topology":
        """Read ``file`` and fill in its variables from ``environment``."""
        shown = seeing.shown(environment)
        # Spans go to the collector the user names, or to Jaeger where it runs.
        nowhere = {} if "jaeger" in shown else {"COSTLAB_OTLP_ENDPOINT": ""}
        given = {**nowhere, **environment, **wire.variables(environment)}
        document = interpolate(_load(file), given)
        if not isinstance(document, dict) or not isinstance(document.get("services"), dict):
            raise StackError(f"{file} has no services")
        try:
            apparatus = [*shown, *([wire.TOXIPROXY] if wire.is_on(environment) else [])]
            described = _ours(document["services"], apparatus)
            instances = {name: _instances(name, item, described) for name, item in described.items()}
            order = TopologicalSorter({name: one[0].depends_on for name, one in instances.items()}).static_order()
            services = [service for name in order for service in instances[name]]
            names = {name: [one.name for one in several] for name, several in instances.items()}
            return cls({service.name: _waiting_for_all(service, names) for service in services})
        except CycleError as error:
            raise StackError(f"{file}: services wait for each other: {' -> '.join(error.args[1])}") from error
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise StackError(f"{file}: {error}") from error

    def on_loopback(self, state: Path) -> "Topology":
        """The same with every address and path as a process on this machine has to see them."""
        addresses: dict[str, list[int]] = {}
        for service in self.services.values():
            for port in service.listens:
                addresses.setdefault(f"{service.service}:{port}", []).append(service.port(port))
        translated = {name: _translate(service, addresses, state) for name, service in self.services.items()}
        return Topology(translated, addresses)

    def document(self, name: str, document: Any, state: Path) -> Any:
        """A configuration file of a service (as YAML gave it), with every string as a process has to see it."""
        service = self.services[name]
        found = seeing.paths(name, service.volumes, state)
        return _in_all(document, lambda text: _on_loopback(text, service, self.addresses, found))

    def ports(self) -> dict[int, str]:
        """Every port that will be opened on this machine, and by which service."""
        ports: dict[int, str] = {}
        for service in self.services.values():
            for number in map(service.port, service.listens):
                if number in ports:
                    raise StackError(f"{ports[number]} and {service.name} would both listen on port {number}")
                ports[number] = service.name
        return ports


def _load(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text())
    except OSError as error:
        raise StackError(f"the topology {file} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise StackError(f"{file} is not YAML: {' '.join(str(error).split())}") from error


def _ours(items: Mapping[str, Any], apparatus: Collection[str]) -> dict[str, Any]:
    """What runs as processes: PostgreSQL, Redis, every service of our image, and the apparatus that is asked for."""
    items = {name: item for name, item in items.items() if name in apparatus or name not in APPARATUS}
    built = {item.get("image", name) for name, item in items.items() if "build" in item}
    return {
        name: item
        for name, item in items.items()
        if name in EMBEDDED or name in apparatus or item.get("image", name) in built
    }


def _instances(name: str, item: Mapping[str, Any], known: Mapping[str, Any]) -> list[Service]:
    number = replicas.parse(name, str(item.get("deploy", {}).get("replicas", 1)))
    return [_service(name, item, known, place, number) for place in range(1, number + 1)]


def _waiting_for_all(service: Service, names: Mapping[str, list[str]]) -> Service:
    """``service``, depending on every instance of what it depends on."""
    return replace(service, depends_on=tuple(name for needed in service.depends_on for name in names[needed]))


def _service(name: str, item: Mapping[str, Any], known: Mapping[str, Any], place: int, of: int) -> Service:
    """The instance at ``place`` (from 1) of as many as ``of``."""
    command = item.get("command", [] if name in seeing.NAMES else None)
    if not isinstance(command, list) or not (command or name in seeing.NAMES):
        raise StackError(f"docker-compose.yml: {name} needs a command, written as a list")
    return Service(
        name=replicas.instance(name, place),
        command=tuple(str(part) for part in command),
        environment=_environment(item.get("environment") or {}),
        depends_on=_dependencies(name, item.get("depends_on") or {}, known),
        published=dict(_port(name, text, place, of) for text in item.get("ports") or ()),
        volumes=dict(_volume(text) for text in item.get("volumes") or ()),
        once=str(item.get("restart")) == "no",
    )


def _environment(given: Mapping[str, Any] | list[str]) -> dict[str, str]:
    if isinstance(given, list):
        return dict(line.partition("=")[::2] for line in given)
    return {name: "" if value is None else str(value) for name, value in given.items()}


def _dependencies(name: str, given: Any, known: Mapping[str, Any]) -> tuple[str, ...]:
    for needed in given:
        if needed not in known and not _optional(given, needed):
            raise StackError(f"docker-compose.yml: {name} depends on {needed}, which does not run locally")
        condition = given[needed].get("condition", "service_started") if isinstance(given, dict) else _CONDITIONS[0]
        if condition not in _CONDITIONS:
            raise StackError(f"docker-compose.yml: {name} waits for {needed} to be {condition}; {_CONDITIONS} exist")
    return tuple(needed for needed in given if needed in known)


def _optional(given: Any, needed: str) -> bool:
    return isinstance(given, dict) and given[needed].get("required", True) is False


def _port(name: str, text: Any, place: int, of: int) -> tuple[int, int]:
    found = re.fullmatch(r"(?:127\.0\.0\.1:)?(\d+(?:-\d+)?):(\d+)", str(text))
    published = ports.expand(found[1]) if found else []
    if not found or not all(0 < port < 65536 for port in published):
        raise StackError(f"docker-compose.yml: {name}: {text!r} is not 127.0.0.1:<port from 1 to 65535>:<port>")
    if len(published) != of:
        raise StackError(
            f"docker-compose.yml: {name}: {of} instances need as many ports, not {found[1]} (as in 9141-9143)"
        )
    return int(found[2]), published[place - 1]


def _volume(text: str) -> tuple[str, str]:
    source, target = str(text).split(":")[:2]
    return target, source


def _translate(service: Service, addresses: seeing.Addresses, state: Path) -> Service:
    paths = seeing.paths(service.name, service.volumes, state)
    seen = {name: _on_loopback(value, service, addresses, paths) for name, value in service.environment.items()}
    if service.name not in seeing.NAMES:
        return replace(service, environment=seen)
    command = tuple(_argument(part, service, addresses, paths) for part in service.command)
    return replace(service, environment=seen, command=command)


def _argument(part: str, service: Service, addresses: seeing.Addresses, paths: Mapping[str, str]) -> str:
    """``--option=value`` with its value translated, or a value alone."""
    option, equals, value = part.partition("=") if part.startswith("--") else ("", "", part)
    return f"{option}{equals}{_on_loopback(value, service, addresses, paths)}"


def _in_all(document: Any, translated: Callable[[str], str]) -> Any:
    if isinstance(document, str):
        return translated(document)
    if isinstance(document, list):
        return [_in_all(item, translated) for item in document]
    if isinstance(document, dict):
        return {key: _in_all(item, translated) for key, item in document.items()}
    return document


def _on_loopback(value: str, service: Service, addresses: seeing.Addresses, paths: Mapping[str, str]) -> str:
    own = re.fullmatch(r"(?:0\.0\.0\.0|127\.0\.0\.1):(\d+)", value)
    if own and int(own[1]) in service.listens:
        return f"127.0.0.1:{service.port(int(own[1]))}"
    for inside, outside in paths.items():
        if value == inside or value.startswith(f"{inside}/"):
            return outside + value[len(inside) :]
    several = max((len(addresses.get(host, ())) for host in _HOST.findall(value)), default=0)
    return ",".join(_at(value, addresses, place) for place in range(max(1, several)))


def _at(value: str, addresses: seeing.Addresses, place: int) -> str:
    """``value`` with the address of the instance at ``place`` for each host of several."""

    def address(host: re.Match[str]) -> str:
        found = addresses.get(host[1])
        return f"127.0.0.1:{found[min(place, len(found) - 1)]}" if found else host[1]

    return _HOST.sub(address, value)
