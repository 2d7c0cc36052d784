"""Restarting services of a running stack: for flags that only a new process can take over, and one after the other.

A flag of kind "restart" is recorded with the others; then every service that runs with another value is restarted.
How an instance goes is the flag ``service.shutdown`` (costlab/service/shutdown.py).
"""

from collections.abc import Callable, Mapping

from redis.exceptions import RedisError

from costlab.service import redis_client
from costlab.service.flags import FlagStore, Registry
from costlab.stack import Stack, StackError, replicas
from costlab.stack.control import Control

EVERY = "all"


def shutdown_kind(redis_url: str) -> str:
    """What ``service.shutdown`` says; its default when Redis, which knows, does not answer."""
    registry = Registry.load()
    redis = redis_client.connect(redis_url)
    try:
        held = FlagStore(redis, registry).read()
    except RedisError:
        held = None
    finally:
        redis.close()
    return str((held[1] if held else registry.defaults())["service.shutdown"])


def instances(stack: Stack, service: str) -> list[str]:
    """The instances of ``service`` (users, users-2, ...), that one instance, or with "all" those of every service."""
    known = list(stack.internal_urls())
    found = known if service == EVERY else [name for name in known if service in (name, replicas.service_of(name))]
    if not found:
        raise StackError(f"no service {service!r}; there are {', '.join(known)}, or {EVERY}")
    return found


def restart(stack: Stack, service: str, rolling: bool, report: Callable[[str], None]) -> None:
    """Restart all instances of ``service`` together, or ``rolling``: each when the one before is ready again."""
    names = instances(stack, service)
    for group in [[name] for name in names] if rolling else [names]:
        stack.restart(*group)
        report(f"{', '.join(group)}: restarted, ready")


def set_flags(stack: Stack, changes: Mapping[str, object]) -> tuple[int, list[str]]:
    """Set ``changes`` (None: back to the default); the revision and the services that were restarted for it.

    Returns once every process has the live flags, and every restarted service is ready.
    """
    registry = Registry.load()
    typed = registry.parse(changes)
    urls = stack.internal_urls()
    control = Control(urls, stack.token())
    revision = control.set_flags(changes)
    wanted = {
        name: registry[name].default if value is None else value
        for name, value in typed.items()
        if registry[name].kind == "restart"
    }
    late = [service for service in urls if wanted and _differs(control.flags(service), wanted)]
    if late:
        stack.restart(*late)
    return revision, late


def _differs(running: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    return any(running[name] != value for name, value in wanted.items())
