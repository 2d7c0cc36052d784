"""Liveness and readiness: is the process running, and should it be sent requests?

``/livez`` answers 200 as long as the process answers at all. ``/readyz`` runs the service's checks and names those
that fail. Run as a program, this asks the service's own ``/readyz``: the health check of a container without curl.
"""

import os
import sys
from collections.abc import Callable, Mapping
from http.client import HTTPConnection

import orjson
from flask import Blueprint, Response

Check = Callable[[], None]


def blueprint(checks: Mapping[str, Check]) -> Blueprint:
    """The routes /livez and /readyz. A check raises when the service cannot do its work."""
    routes = Blueprint("health", __name__)

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


def main() -> int:
    """0 when the service at COSTLAB_INTERNAL_BIND is ready, else 1 with the reason on stderr."""
    port = int(os.environ.get("COSTLAB_INTERNAL_BIND", "127.0.0.1:9000").rpartition(":")[2])
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        reason = answer.read().decode()
    except OSError as error:
        reason, ready = str(error), False
    else:
        ready = answer.status == 200
    finally:
        connection.close()
    if not ready:
        print(reason, file=sys.stderr)  # noqa: T201 - a program's output
    return 0 if ready else 1


if __name__ == "__main__":
    raise SystemExit(main())
