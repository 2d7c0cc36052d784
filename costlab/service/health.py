"""Liveness and readiness: is the process running, and should it be sent requests?

``/livez`` answers 200 as long as the process answers at all. ``/readyz`` answers 200 or 503 as the flag
``service.probe`` says (costlab/service/readiness.py), with each check: what it said and how long it took.

    {"status": "ok", "probe": "deep", "checks": {"postgres": "ok"}, "milliseconds": {"postgres": 0.8}}
"""

import time

import orjson
from flask import Blueprint, Response

from costlab.service import metrics
from costlab.service.flags import Flags
from costlab.service.readiness import BoundedCheck, Check, FailOpen, Result, ask, perform

NAME = "health"
PATHS = frozenset({"/livez", "/readyz"})


class Health:
    """The checks of a service: ``own`` ones of the process, and of what it depends on."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags
        self._own: dict[str, Check] = {}
        self._dependencies: dict[str, BoundedCheck] = {}
        self._fail_open = FailOpen()
        self._leaving = False

    def add(self, name: str, check: Check, dependency: bool) -> None:
        """``check`` raises when the process, or what it depends on, cannot do its work."""
        if dependency:
            self._dependencies[name] = BoundedCheck(check)
        else:
            self._own[name] = check

    def leave(self) -> None:
        """Never be ready again: this replica is on its way out."""
        self._leaving = True

    def blueprint(self) -> Blueprint:
        """The routes /livez and /readyz."""
        routes = Blueprint(NAME, __name__)

        @routes.get("/livez")
        def livez() -> Response:
            return Response(b'{"status":"ok"}', content_type="application/json")

        @routes.get("/readyz")
        def readyz() -> Response:
            ready, document = self.readiness(time.monotonic())
            return Response(orjson.dumps(document), 200 if ready else 503, content_type="application/json")

        return routes

    def readiness(self, now: float) -> tuple[bool, dict[str, object]]:
        """Whether to send this replica requests, and the document that says why."""
        probe = self._flags["service.probe"]
        own = {name: perform(check) for name, check in self._own.items()}
        if self._leaving:
            own["shutdown"] = Result("This replica is leaving.", 0.0)
        asked = {} if probe == "shallow" else ask(self._dependencies)
        failed = [name for name, result in asked.items() if not result.ok]
        # Also in mode deep, so that it is known how long something has failed when the mode changes.
        warning = self._fail_open.warning(asked, failed, now)
        opened = bool(failed) and probe == "deep_fail_open" and warning is not None
        ready = all(result.ok for result in own.values()) and (not failed or opened)
        document = _document(probe, ready, own | asked)
        if ready and opened:
            document["warning"] = warning
        metrics.READINESS.labels(probe, "unready" if not ready else "failed_open" if opened else "ready").inc()
        return ready, document


def _document(probe: str, ready: bool, results: dict[str, Result]) -> dict[str, object]:
    for name, result in results.items():
        metrics.CHECK_SECONDS.labels(name).observe(result.seconds)
    return {
        "status": "ok" if ready else "unavailable",
        "probe": probe,
        "checks": {name: result.said for name, result in results.items()},
        "milliseconds": {name: round(1000 * result.seconds, 3) for name, result in results.items()},
    }
