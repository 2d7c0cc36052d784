"""The edges on which faults on the wire can be made: who calls whom, each through a port of toxiproxy of its own.

    orders ──► toxiproxy:8481 ──► postgres:5432        the edge "orders.postgres" of infra/toxiproxy/proxies.json
    worker ──► toxiproxy:8488 ──► postgres:5432        so that a toxic meets the calls of one service only

With COSTLAB_WIRE=off (the default) there is no toxiproxy and everybody is called directly. An edge leads to one
instance, so a service with several and the wire are refused together.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costlab.stack import ROOT, StackError, replicas

TOXIPROXY = "toxiproxy"
API = 8474
VARIABLE = "COSTLAB_WIRE"
PROXIES = ROOT / "infra" / "toxiproxy" / "proxies.json"


@dataclass(frozen=True)
class Edge:
    """``service`` calls ``dependency``, which answers at ``upstream``, through ``port`` of toxiproxy."""

    service: str
    dependency: str
    port: int
    upstream: str

    @property
    def name(self) -> str:
        return f"{self.service}.{self.dependency}"

    @property
    def variable(self) -> str:
        """What docker-compose.yml reads the address from: COSTLAB_WIRE_ORDERS_POSTGRES."""
        return f"{VARIABLE}_{self.service}_{self.dependency}".upper().replace("-", "_")


def edges(file: Path = PROXIES) -> list[Edge]:
    """Every edge, in the order of ``file``."""
    return [_edge(item["name"], item["listen"], item["upstream"]) for item in json.loads(file.read_text())]


def is_on(environment: Mapping[str, str]) -> bool:
    """Whether calls go through toxiproxy."""
    value = environment.get(VARIABLE) or "off"
    if value not in ("on", "off"):
        raise StackError(f"{VARIABLE} is {value!r}; it must be on or off")
    return value == "on"


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What makes docker-compose.yml send every call through toxiproxy; nothing where the wire is off."""
    if not is_on(environment):
        return {}
    for service in replicas.REPLICATED:
        if replicas.count(service, environment) > 1:
            raise StackError(
                f"{VARIABLE}=on and {replicas.variable(service)} do not go together: toxiproxy leads to one instance "
                "of a service"
            )
    profiles = [name for name in environment.get("COMPOSE_PROFILES", "").split(",") if name not in ("", "chaos")]
    addresses = {edge.variable: f"{TOXIPROXY}:{edge.port}" for edge in edges()}
    return {"COMPOSE_PROFILES": ",".join([*profiles, "chaos"]), **addresses}


def on_loopback(port: Callable[[int], int], service: Callable[[str], Any]) -> list[dict[str, object]]:
    """What toxiproxy starts from where everything is a process: ``port`` of its own, ``service`` by name."""
    return [
        {
            "name": edge.name,
            "listen": f"127.0.0.1:{port(edge.port)}",
            "upstream": f"127.0.0.1:{service(edge.dependency).port(int(edge.upstream.rpartition(':')[2]))}",
            "enabled": True,
        }
        for edge in edges()
    ]


def _edge(name: str, listen: str, upstream: str) -> Edge:
    service, _, dependency = name.partition(".")
    return Edge(service, dependency, int(listen.rpartition(":")[2]), upstream)
