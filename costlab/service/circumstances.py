"""Under which circumstances a request was served, as attributes of its server span: flags that are not at their
defaults, and faults that are active.

    costlab.flag.http.retry = "full_jitter"     the service's own flags and those of all services, at most MOST
    costlab.faults = ["errors", "latency"]      active in this process, whether or not this request met one

A fault that the request did meet is named by ``costlab.fault`` on the span that met it (fault_edges.py).
"""

from collections.abc import Iterable

from costlab.service.fault_engine import FaultEngine
from costlab.service.flags import Flags, Registry
from costlab.service.tracing import Attributes

MOST = 12
# On every span there is, and what it is shows by there being a span.
_LEFT_OUT = "tracing.sample"


class Circumstances:
    """Those of one service. Asked for sampled requests only."""

    def __init__(self, registry: Registry, flags: Flags, faults: FaultEngine) -> None:
        self._flags = flags
        self._faults = faults
        self._defaults = {
            flag.name: flag.default
            for flag in registry
            if flag.owner in (faults.service, "all") and flag.name != _LEFT_OUT
        }

    def attributes(self) -> Attributes:
        """As they are now."""
        changed = [(name, value) for name, default in self._defaults.items() if (value := self._flags[name]) != default]
        return {f"costlab.flag.{name}": value for name, value in changed[:MOST]} | _named(self._active())

    def _active(self) -> set[str]:
        return {record.fault for record in self._faults.known()}


def _named(faults: Iterable[str]) -> Attributes:
    names = sorted(faults)[:MOST]
    return {"costlab.faults": names} if names else {}
