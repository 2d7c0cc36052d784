"""The counters of every service's /metrics, and how much each rose; of histograms their sums and counts."""

import time
from collections.abc import Iterable, Mapping

from costlab.stack import replicas
from costlab.stack.control import Control, ControlError

BACK_SECONDS = 30.0
_TICK_SECONDS = 0.25
_KEPT = ("costlab_", "http_server_response_body_bytes", "http_client_request_duration")
_RISING = ("_total", "_sum", "_count")


def read(control: Control, services: Iterable[str]) -> dict[str, float]:
    """Every counter of each instance of ``services``, as 'orders costlab_orders_placed_total{outcome="created"}'."""
    return {
        f"{service} {name}{_braced(labels)}": value
        for service in services
        for name, labels, value in _samples(control, service)
        if name.endswith(_RISING) and name.startswith(_KEPT)
    }


def by_service(rises: Mapping[str, float]) -> dict[str, float]:
    """``rises`` with those of all instances of a service added up."""
    sums: dict[str, float] = {}
    for key, value in rises.items():
        instance, counter = key.split(" ", 1)
        service = f"{replicas.service_of(instance)} {counter}"
        sums[service] = sums.get(service, 0.0) + value
    return sums


def _samples(control: Control, service: str) -> list[tuple[str, dict[str, str], float]]:
    deadline = time.monotonic() + BACK_SECONDS
    while True:
        try:
            return control.metrics(service)
        except ControlError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_TICK_SECONDS)


def _braced(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{{{inside}}}" if inside else ""


def rise(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """How much each counter rose. One that fell was started anew in between, so what it holds has all been added."""
    changes = {}
    for key, value in after.items():
        started = before.get(key, 0.0)
        changes[key] = value - started if value >= started else value
    return changes
