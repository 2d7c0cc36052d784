"""What is switched off, and the same code without it: one row for each mechanism that a request passes.

A mechanism that is off costs its check. So the yardstick is the tree without the check: each row names the functions
that ask, and how their tests come out while the mechanism is off (folding.py). A switch puts one or the other code in
force, in the process that measures.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

from benchmarks.folding import folded
from costlab.service.door import Door
from costlab.service.http_client import HttpClient
from costlab.service.profiling import Profiling
from costlab.service.redis_client import _Faulty
from costlab.service.tracing import Tracing
from gateway.proxy import Proxy

GATEWAY, SERVICE, REDIS = "gateway", "service", "redis"

# Puts the code with the check in force (True), or that without (False).
Switch = Callable[[bool], None]


@dataclass(frozen=True)
class Check:
    """A function that asks whether a mechanism is on; see ``folded`` for the rest."""

    function: Any
    tests: Mapping[str, bool]
    drop: Collection[str] = ()
    none: Collection[str] = ()

    def switch(self) -> Switch:
        """Between its two codes."""
        function = self.function
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        codes: dict[bool, CodeType] = {
            True: function.__code__,
            False: folded(function, self.tests, self.drop, self.none),
        }

        def switch(checked: bool) -> None:
            function.__code__ = codes[checked]

        return switch


@dataclass(frozen=True)
class Mechanism:
    """One row: what ``flag`` (or faults) costs while off, in each request to ``host``."""

    name: str
    host: str
    off: Mapping[str, object]
    checks: tuple[Check, ...]

    def switches(self) -> list[Switch]:
        """Those of all its checks."""
        return [check.switch() for check in self.checks]


_DOOR_FAULTS = Check(Door.__call__, {"FAULT_KEY in environ": False, "(faults := self._inbound.active)": False})

MECHANISMS = (
    Mechanism(
        "gateway.rate_limit",
        GATEWAY,
        {"gateway.rate_limit": "off"},
        (Check(Proxy._admit, {"limited is None": True}, drop=("limited",)),),
    ),
    Mechanism(
        "gateway.shed",
        GATEWAY,
        {"gateway.shed": "off"},
        (Check(Proxy._call, {"policy == 'off'": True}, drop=("policy",)),),
    ),
    Mechanism(
        "gateway.hedge",
        GATEWAY,
        {"gateway.hedge": "off"},
        (Check(Proxy._hedged, {"kind == 'off' or method not in SAFE": True}, drop=("kind",)),),
    ),
    Mechanism(
        "gateway.compress",
        GATEWAY,
        {"gateway.compress": "off"},
        (Check(Proxy._compressed, {"coding == 'off'": True}, drop=("coding",)),),
    ),
    Mechanism(
        "gateway.reads",
        GATEWAY,
        {"gateway.reads": "direct"},
        (Check(Proxy._upstream, {"cached": False}, drop=("cached",)),),
    ),
    Mechanism(
        "http.retry",
        GATEWAY,
        {"http.retry": "off"},
        (Check(HttpClient.request, {"backoff == 'off'": True}, drop=("backoff",)),),
    ),
    Mechanism(
        "http.attempt_timeout",
        GATEWAY,
        {"http.attempt_timeout": "none"},
        (Check(HttpClient._attempt_seconds, {"longest == 'none'": True}, drop=("longest",)),),
    ),
    Mechanism(
        "http.breaker",
        GATEWAY,
        {"http.breaker": "off"},
        (Check(HttpClient._guarded, {"kind == 'off'": True}, drop=("kind",)),),
    ),
    Mechanism(
        "gateway.balancer",
        GATEWAY,
        {},
        # With one replica there is nothing to choose.
        (Check(HttpClient._sent, {"len(replicas) == 1": True}),),
    ),
    Mechanism(
        "http.deadline",
        GATEWAY,
        {"http.deadline": "off"},
        (
            Check(
                HttpClient._by,
                {"request is None or self._flags['http.deadline'] == 'off'": True},
                drop=("request",),
            ),
            Check(HttpClient._message, {"self._flags['http.deadline'] == 'on'": False}),
        ),
    ),
    Mechanism(
        "tracing.sample",
        GATEWAY,
        {"tracing.sample": 0},
        (
            # A trace's id is handed on whatever is sampled; what goes is the decision, and asking for a span after it.
            Check(Tracing.enter, {"not sampled": True}, drop=("rate", "sampled")),
            Check(Door.__call__, {"span is not None": False}),
            Check(HttpClient._attempt, {"span is not None": False}, none=("span",)),
        ),
    ),
    Mechanism(
        "faults",
        GATEWAY,
        {},
        (
            _DOOR_FAULTS,
            Check(HttpClient._exchanged, {"self._edge.active": False}),
            Check(HttpClient._message, {"request.fault": False}),
        ),
    ),
    Mechanism("faults (service)", SERVICE, {}, (_DOOR_FAULTS,)),
    Mechanism(
        "faults (redis)",
        REDIS,
        {},
        (Check(_Faulty.send_packed_command, {"self.edge.active and (not self._greeting)": False}),),
    ),
    Mechanism(
        "profiling",
        SERVICE,
        {"profiling": "off"},
        (
            Check(
                Profiling.__call__,
                {"self._flags[FLAG] != 'cprofile' or environ['SERVER_PORT'] == self._internal_port": True},
            ),
        ),
    ),
)
