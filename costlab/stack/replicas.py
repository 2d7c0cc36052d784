"""Several instances of one service: how many, and what they are called.

COSTLAB_USERS_REPLICAS=3    users, users-2, users-3: programs of a supervisor, or containers of Compose

Each has a name, a port and a log of its own, so that one of them can be stopped or slowed down alone.
"""

import re
from collections.abc import Mapping

from costlab.stack import StackError

# docker-compose.yml says the same of them: deploy.replicas and a port that may be a range.
REPLICATED = ("users", "orders")
MOST = 8


def variable(service: str) -> str:
    """What says how many instances of ``service`` there are."""
    return f"COSTLAB_{service.upper()}_REPLICAS"


def count(service: str, environment: Mapping[str, str]) -> int:
    """How many instances of ``service`` ``environment`` asks for."""
    return parse(service, environment.get(variable(service)) or "1")


def parse(service: str, text: str) -> int:
    """``text`` as a number of instances of ``service``."""
    if not re.fullmatch(r"[0-9]{1,2}", text) or not 1 <= int(text) <= MOST:
        raise StackError(f"{variable(service)} is {text!r}; it must be a whole number from 1 to {MOST}")
    return int(text)


def instance(service: str, number: int) -> str:
    """The name of the instance with this number, from 1."""
    return service if number == 1 else f"{service}-{number}"


def service_of(instance: str) -> str:
    """The service that ``instance`` is one of."""
    return re.sub(r"-[0-9]+$", "", instance)


def asked_for(text: str) -> tuple[str, str]:
    """The variable and its value for ``users=3``, as the command line takes it."""
    service, _, number = text.partition("=")
    if service not in REPLICATED:
        raise StackError(f"{text!r} is not SERVICE=NUMBER; services with replicas: {', '.join(REPLICATED)}")
    return variable(service), str(parse(service, number))
