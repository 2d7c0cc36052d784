"""What one sees a stack with, Prometheus, Grafana and Jaeger, where it runs as processes.

They are the same three services of docker-compose.yml, with the same configuration files: each is read as YAML and
written into the state folder as a process on loopback has to see it.

    http://jaeger:16686              ->  http://127.0.0.1:16686     as everywhere (topology.py)
    0.0.0.0:4318, 127.0.0.1:9090     ->  127.0.0.1:4318, ...        where it listens itself
    dns_sd_configs: names: [users]   ->  static_configs: targets: [127.0.0.1:9081], for which no DNS is needed
    /usr/share/costlab/dashboards    ->  the folder that is mounted there

They are apparatus: with COSTLAB_SEEING=off, the default of everything but `costlab up`, there are none, and what
cannot start is left out instead of keeping the stack from coming up.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from costlab.stack import ROOT, StackError

VARIABLE = "COSTLAB_SEEING"
WITHOUT = "COSTLAB_WITHOUT"
# Started in this order: services are told where Jaeger is.
NAMES = ("jaeger", "prometheus", "grafana")
FOLDER = "seeing"

Addresses = Mapping[str, list[int]]


class _Door(NamedTuple):
    """The container's ports, that of its page first; where it says that it is ready."""

    listens: tuple[int, ...]
    ready: tuple[int, str]


DOORS = {
    "jaeger": _Door((16686, 16685, 4318, 13133), (13133, "/status")),
    "prometheus": _Door((9090,), (9090, "/-/ready")),
    "grafana": _Door((3000,), (3000, "/api/health")),
}


def shown(environment: Mapping[str, str]) -> list[str]:
    """Which of the three a local stack shall have."""
    value = environment.get(VARIABLE) or "off"
    if value not in ("on", "off"):
        raise StackError(f"{VARIABLE} is {value!r}; it must be on or off")
    without = left_out(environment.get(WITHOUT, ""))
    return [name for name in NAMES if value == "on" and name not in without]


def left_out(text: str) -> tuple[str, ...]:
    """The services named in COSTLAB_WITHOUT, parted by spaces or commas."""
    names = tuple(re.split(r"[\s,]+", text.strip())) if text.strip() else ()
    if unknown := [name for name in names if name not in NAMES]:
        raise StackError(f"{WITHOUT} names {', '.join(unknown)}; what can be left out: {', '.join(sorted(NAMES))}")
    return names


def paths(name: str, volumes: Mapping[str, str], state: Path) -> dict[str, str]:
    """Where a process finds what its container has mounted: path in the container to path on this machine."""
    return {inside: str(_place(name, inside, source, state)) for inside, source in volumes.items()}


def write(name: str, volumes: Mapping[str, str], state: Path, translated: Callable[[Any], Any], to: Addresses) -> None:
    """Write its configuration files, with every string ``translated``; ``to`` are the ports behind "users:9000"."""
    for inside, source in volumes.items():
        place = _place(name, inside, source, state)
        for file in _configuration(source):
            copy = place if place.suffix else place / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            document = translated(_without_dns(yaml.safe_load(file.read_text()), to))
            copy.write_text(f"# Written by costlab at every start, from {file.relative_to(ROOT)}.\n{_dump(document)}")
        if "/" not in source:
            place.mkdir(exist_ok=True)


def arguments(name: str, program: Path, port: int) -> list[str]:
    """What it is told beyond the container's command."""
    if name == "prometheus":
        return [f"--web.listen-address=127.0.0.1:{port}"]
    if name == "grafana":
        return [*(["server"] if program.name == "grafana" else []), f"--homepath={_grafana_home(program)}"]
    return []


def environment(name: str, port: int, state: Path) -> dict[str, str]:
    """What its image sets beside docker-compose.yml, for this machine."""
    if name != "grafana":
        return {}
    return {
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_PATHS_DATA": str(state / "grafana"),
        "GF_PATHS_PLUGINS": str(state / "grafana" / "plugins"),
        "GF_PATHS_LOGS": str(state / "grafana" / "log"),
        "GF_PATHS_PROVISIONING": str(state / FOLDER / name / "etc" / "grafana" / "provisioning"),
    }


class LeftOut:
    """What the running stack goes without, and why: a file in its state folder."""

    def __init__(self, state: Path) -> None:
        self._file = state / FOLDER / "left_out.json"

    def read(self) -> dict[str, str]:
        """Name to reason."""
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def write(self, reasons: Mapping[str, str]) -> None:
        """In place of what was there."""
        self._file.parent.mkdir(exist_ok=True)
        self._file.write_text(json.dumps(dict(reasons), indent=2))

    def forget(self) -> None:
        self._file.unlink(missing_ok=True)


def _place(name: str, inside: str, source: str, state: Path) -> Path:
    """A named volume is a folder of the state; a configuration file a copy of its own; the rest is read where it is."""
    if "/" not in source:
        return state / source
    return state / FOLDER / name / inside.lstrip("/") if _configuration(source) else ROOT / source


def _configuration(source: str) -> list[Path]:
    """The YAML files that are mounted from ``source``."""
    found = ROOT / source
    files = sorted(found.iterdir()) if found.is_dir() else [found]
    return [file for file in files if file.suffix in (".yml", ".yaml")] if "/" in source else []


def _without_dns(document: Any, to: Addresses) -> Any:
    """Prometheus' scrapes with the addresses of every instance where it would ask DNS for them.

    The label __meta_dns_name is what the scrape's own relabelling makes the service's name of.
    """
    for scrape in document.get("scrape_configs", ()):
        for asked in scrape.pop("dns_sd_configs", ()):
            scrape.setdefault("static_configs", []).extend(
                {
                    "targets": [f"127.0.0.1:{port}" for port in to.get(f"{name}:{asked['port']}", ())],
                    "labels": {"__meta_dns_name": name},
                }
                for name in asked["names"]
            )
    return document


def _dump(document: Any) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _grafana_home(program: Path) -> Path:
    """Where its pages are: beside the program in an archive, else where packages put them."""
    beside = program.resolve().parent.parent
    return beside if (beside / "conf" / "defaults.ini").exists() else Path("/usr/share/grafana")
