"""Which ports a stack has: those of docker-compose.yml, all moved together, and all free before anything starts.

COSTLAB_PORT_BASE=18080   gateway 18080, its internal port 19080, PostgreSQL 15480, Redis 16480, ...
COSTLAB_USERS_REPLICAS=3  a range for users: internal ports 9141 to 9143, one for each, instead of 9081
"""

import re
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil

from costlab.stack import ROOT, StackError, replicas

COMPOSE_FILE = ROOT / "docker-compose.yml"
DEFAULT_BASE = 8080
# PostgreSQL lies 2,600 below the base, Jaeger 8,606 above; the kernel hands out ports from 32768 to anybody.
_LOWEST, _HIGHEST = 6200, 50000
_TRIED = range(12080, 24000, 100)
# The port above a base that keep_base() holds; no service listens there.
KEPT = 7
_keepers: dict[int, socket.socket] = {}
# Internal ports of services with replicas, the first of each range, clear of all others between two bases of _TRIED.
_RANGES = {"users": 9141, "orders": 9151}
_MOST = {replicas.variable(service): str(replicas.MOST) for service in _RANGES}


def base(environment: Mapping[str, str]) -> int:
    """The gateway's port that COSTLAB_PORT_BASE asks for."""
    text = environment.get("COSTLAB_PORT_BASE") or str(DEFAULT_BASE)
    if not text.isdigit() or not _LOWEST <= int(text) <= _HIGHEST:
        raise StackError(f"COSTLAB_PORT_BASE is {text!r}; it must be a port number from {_LOWEST} to {_HIGHEST}")
    return int(text)


def moved(environment: Mapping[str, str], file: Path = COMPOSE_FILE) -> dict[str, str]:
    """A value for every variable ``${COSTLAB_..._PORT:-n}`` of ``file``: n, moved along with the base.

    A service with several replicas gets a range of as many ports, "9141-9143".
    """
    distance = base(environment) - DEFAULT_BASE
    published = re.findall(r"\$\{(COSTLAB_\w+_PORT):-(\d+)\}", file.read_text())
    single = {name: str(int(default) + distance) for name, default in published}
    return single | {name: text for name, text in _ranges(environment, distance).items() if name in single}


def _ranges(environment: Mapping[str, str], distance: int) -> dict[str, str]:
    counts = {service: replicas.count(service, environment) for service in replicas.REPLICATED}
    return {
        f"COSTLAB_{service.upper()}_INTERNAL_PORT": f"{first}-{first + counts[service] - 1}"
        for service, first in ((name, number + distance) for name, number in _RANGES.items())
        if counts[service] > 1
    }


def refuse_taken(ports: Mapping[int, str]) -> None:
    """One clear line when another program listens where a service should."""
    for port, service in ports.items():
        if holder := taken_by(port):
            raise StackError(
                f"port {port}, wanted for {service}, is taken by {holder}: stop it, or move every port of the "
                f"stack, for instance with COSTLAB_PORT_BASE={free_base()}"
            )


def taken_by(port: int) -> str:
    """Who has ``port``; nothing where it is free."""
    return "" if _is_free(port) else _holder(port)


def free_base() -> int:
    """A base at which every port of a stack is free now."""
    for candidate in _TRIED:
        if all(_is_free(port + candidate - DEFAULT_BASE) for port in _everything()):
            return candidate
    raise _no_base()


def keep_base() -> int:
    """A free base that nobody else is given by this function until ``give_back`` or the end of this process.

    A stack takes seconds until it listens everywhere; two that start at once would choose the same ports.
    """
    for candidate in _TRIED:
        keeper = socket.socket()
        try:
            # Without listening: what the kernel gives to one only, and takes back however that one ends.
            keeper.bind(("127.0.0.1", candidate + KEPT))
        except OSError:
            keeper.close()
            continue
        ports = {port + candidate - DEFAULT_BASE for port in _everything()}
        if all(map(_is_free, ports)) and not any(map(_is_kept, _meeting(candidate))):
            _keepers[candidate] = keeper
            return candidate
        keeper.close()
    raise _no_base()


def _meeting(candidate: int) -> set[int]:
    """The other bases that would have a port of ``candidate``: the gateway of 13480 is the Redis of 15080."""
    everything = _everything()
    distances = {one - other for one in everything for other in everything} - {0}
    return {candidate + distance for distance in distances} & set(_TRIED)


def _is_kept(base: int) -> bool:
    return not _is_free(base + KEPT)


def give_back(base: int) -> None:
    """Let others have a base that ``keep_base`` kept."""
    _keepers.pop(base).close()


def taken(environment: Mapping[str, str]) -> list[int]:
    """Those ports of a stack on which somebody listens now."""
    distance = base(environment) - DEFAULT_BASE
    asked_for = {name: environment[name] for name in _MOST if name in environment}
    return sorted(port + distance for port in _defaults(asked_for) if not _is_free(port + distance))


def _no_base() -> StackError:
    return StackError(f"no free ports for a stack with a base between {_TRIED.start} and {_TRIED.stop}")


def _everything() -> set[int]:
    """Every port a stack at the default base may open, with or without replicas."""
    return {*_defaults({}), *_defaults(_MOST)}


def _defaults(counts: Mapping[str, str]) -> list[int]:
    """Every port at the default base, with as many replicas as ``counts`` says."""
    published = [port for text in moved(counts).values() for port in expand(text)]
    return published + [port - 1000 for port in published if 9080 <= port < 9090 or 9140 <= port < 9160]


def expand(text: str) -> list[int]:
    """The ports in "9081", or in the range "9141-9143"; ValueError when it is neither."""
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def _is_free(port: int) -> bool:
    if not 0 < port < 65536:
        return False
    with socket.socket() as probe:
        # As the servers do it: connections of a stack that has just stopped are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    """Who listens there, where the system lets us see it (as an ordinary user: only our own programs)."""
    try:
        found = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return "another program"
    for connection in found:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return f"{_name(connection.pid)} (pid {connection.pid})"
    return "a program of another user"


def _name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "a program"
