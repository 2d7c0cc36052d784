"""Setting flags of a running stack, those included that only a new process can take over.

A flag of kind "restart" is recorded with the others; then every service that runs with another value is restarted.
"""

from collections.abc import Mapping

from costlab.service.flags import Registry
from costlab.stack import Stack
from costlab.stack.control import Control


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
