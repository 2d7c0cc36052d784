"""Liveness and readiness: is the process running, and should it be sent requests?

``/livez`` answers 200 as long as the process answers at all. ``/readyz`` runs the service's checks and names those
that fail.
"""

from collections.abc import Callable, Mapping

import orjson
from flask import Blueprint, Response

NAME = "health"

Check = Callable[[], None]


def blueprint(checks: Mapping[str, Check]) -> Blueprint:
    """The routes /livez and /readyz. A check raises when the service cannot do its work."""
    routes = Blueprint(NAME, __name__)

    @routes.get("/livez")
    def livez() -> Response:
        return Response(b'{"status":"ok"}', content_type="application/json")

    @routes.get("/readyz")
    def readyz() -> Response:
        results = {name: _result(check) for name, check in checks.items()}
        ready = all(result == "ok" for result in results.values())
        document = {"status": "ok" if ready else "unavailable", "checks": results}
        return Response(orjson.dumps(document), 200 if ready else 503, content_type="application/json")

    return routes


def _result(check: Check) -> str:
    try:
        check()
    except Exception as error:  # noqa: BLE001 - any reason for not being ready is reported, not raised
        return str(error) or type(error).__name__
    return "ok"
