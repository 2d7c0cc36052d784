"""Puts a stack into the state every block starts from: flags, restarts, cache. The same steps for every variant.

A flag of kind "restart" takes new processes. If two variants differ in one, every block of every variant restarts:
otherwise one variant would be measured on fresh processes and the other on old ones. ``[state] restart`` names
services that are to start anew before every block for another reason, such as memory that a process never gives back.
"""

from collections.abc import Callable, Mapping

import redis

from costlab.lab.errors import LabError
from costlab.lab.experiment import Experiment
from costlab.service.flags import BadFlagValue, Registry
from costlab.stack import Stack, replicas
from costlab.stack.control import Control

# What the cache-proxy keeps in Redis (services/cache_proxy/cache_store.py); other keys there are not ours to touch.
CACHED = "cache:entry:*"

Flags = Mapping[str, object]
SetFlags = Callable[[Flags], tuple[int, list[str]]]


class Stage:
    """What every block starts from, whichever variant came before it.

    ``set_flags`` returns once the flags are in force, with the services it restarted for them (stack/restarting.py).
    ``before``: the flags that stood before the run, and will again after it.
    """

    def __init__(
        self, stack: Stack, control: Control, experiment: Experiment, set_flags: SetFlags, before: Flags
    ) -> None:
        self._stack = stack
        self._control = control
        self._experiment = experiment
        self._set_flags = set_flags
        # A flag that only another variant names is back at its value, whichever variant came before.
        self._touched = _stood(experiment, before)
        self.restarts = _instances(restarted(experiment, self._touched), list(stack.internal_urls()))

    def set(self, variant: str) -> Flags:
        """Put the stack into the state in which a block of ``variant`` starts; the flags then in force."""
        wanted = self._touched | self._experiment.variants[variant].flags
        _, fresh = self._set_flags(wanted)
        if old := [service for service in self.restarts if service not in fresh]:
            self._stack.restart(*old)
        if self.restarts:
            # Once more: the new processes have them too, and what a flag takes (a memory layout) is made.
            self._set_flags(wanted)
        if self._experiment.state.cache == "emptied":
            empty_cache(self._stack.redis_url())
        return self._control.flags()

    def restore(self) -> None:
        """The flags as they were before the run, in processes that follow them."""
        self._set_flags(self._touched)


def _stood(experiment: Experiment, before: Flags) -> Flags:
    """Those of ``before`` that a variant sets; LabError where a damaged result, which costlab report can still read, is
    gone on with."""
    if unsaid := [name for name in experiment.flags() if name not in before]:
        raise LabError(f"it is not known how {', '.join(unsaid)} stood before the run (flags_before of the result)")
    registry = Registry.load()
    try:
        return {name: registry[name].parse(before[name]) for name in experiment.flags()}
    except BadFlagValue as error:
        raise LabError(f"flags_before of the result: {error}") from error


def restarted(experiment: Experiment, before: Flags) -> set[str]:
    """The services that start anew before every block; "all" stands for each of them."""
    services = set(experiment.state.restart)
    registry = Registry.load()
    for name in experiment.flags():
        if registry[name].kind == "restart":
            values = {registry[name].parse(v.flags.get(name, before[name])) for v in experiment.variants.values()}
            services |= {registry[name].owner} if len(values) > 1 else set()
    return services


def _instances(services: set[str], running: list[str]) -> list[str]:
    """Every running instance of ``services``: orders stands for orders-2 too."""
    return [name for name in running if "all" in services or replicas.service_of(name) in services]


def empty_cache(redis_url: str) -> int:
    """Drop every cached answer; how many there were."""
    try:
        with redis.Redis.from_url(redis_url, socket_timeout=5) as client:
            keys = list(client.scan_iter(CACHED, count=1000))
            for start in range(0, len(keys), 1000):
                client.unlink(*keys[start : start + 1000])
    except redis.RedisError as error:
        raise LabError(f"the cache cannot be emptied: Redis at {redis_url}: {error}") from error
    return len(keys)
