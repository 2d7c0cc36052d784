"""The public API's OpenAPI 3.1 document: the services' own parts, put together under ``/api``.

Each service writes its part from the models that validate its input (costlab/service/openapi.py). What the gateway
does not route is left out, and what the gateway adds is added: the prefix, the API key, its own refusals.
"""

import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import orjson
from flask import Blueprint, Response

from costlab.resilience.deadline import nearest
from costlab.service import context, problem
from costlab.service.http_client import HttpClient, UpstreamError
from costlab.service.openapi import PROBLEM_SCHEMA, VERSION
from gateway import routes

# Long enough that nobody makes the services write it per request, short enough to see a new version.
KEEP_SECONDS = 60.0
_PARAMETER = re.compile(r"\{[^}]+\}")
ASK_SECONDS = 3.0
_REFUSALS = {
    401: "The API key is nobody's.",
    429: "The client is over its rate; Retry-After says when to come back.",
    502: "The service behind the gateway could not be reached.",
    503: "The service behind the gateway has been failing and is not asked for now, or rates cannot be checked.",
    504: "The service behind the gateway did not answer in time.",
}
_KEY = {
    "type": "apiKey",
    "in": "header",
    "name": "X-Api-Key",
    "description": "Says which client this is. Requests without a key share one rate limit.",
}

Part = Mapping[str, Any]


class SchemaConflict(Exception):
    """Two services describe different things under one name."""


def blueprint(services: Sequence[HttpClient], clock: Callable[[], float] = time.monotonic) -> Blueprint:
    """The route /openapi.json. While a service cannot be asked it is the document there was before, 503 if none."""
    pages = Blueprint("openapi", __name__)
    asking = threading.Lock()
    kept: tuple[float, bytes] = (-math.inf, b"")

    @pages.get("/openapi.json")
    def document() -> Response:
        nonlocal kept
        if clock() - kept[0] >= KEEP_SECONDS:
            try:
                kept = clock(), asked()
            except problem.Unavailable:
                if not kept[1]:
                    raise
        return Response(kept[1], content_type="application/json")

    def asked() -> bytes:
        # One thread asks; were the others to wait for it, a service that hangs would take the whole gateway along.
        if not asking.acquire(blocking=False):
            raise _unavailable("the services are being asked for it")
        try:
            return orjson.dumps(merge([_ask(service) for service in services]))
        finally:
            asking.release()

    return pages


def merge(parts: Sequence[Part]) -> dict[str, Any]:
    """One document out of the services' parts."""
    schemas: dict[str, Any] = {"Problem": PROBLEM_SCHEMA}
    paths: dict[str, dict[str, Any]] = {}
    for part in parts:
        for name, schema in part["components"]["schemas"].items():
            if schemas.setdefault(name, schema) != schema:
                raise SchemaConflict(f"two services describe {name} differently")
        for path, operations in part["paths"].items():
            public = {method: _public(details) for method, details in operations.items() if _routed(path, method)}
            if public:
                paths.setdefault(routes.PREFIX + path, {}).update(public)
    return {
        "openapi": VERSION,
        "info": {"title": "costlab", "version": "1"},
        # The empty alternative: a request without a key is answered too.
        "security": [{"apiKey": []}, {}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": _refusals(),
            "securitySchemes": {"apiKey": _KEY},
        },
    }


def _public(details: Part) -> dict[str, Any]:
    refusals = {str(status): {"$ref": f"#/components/responses/{status}"} for status in _REFUSALS}
    return {**details, "responses": {**refusals, **details["responses"]}}


def _refusals() -> dict[str, Any]:
    content = {problem.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(status): {"description": text, "content": content} for status, text in _REFUSALS.items()}


def _routed(path: str, method: str) -> bool:
    route = routes.match(routes.PREFIX + _PARAMETER.sub("1", path))
    return route is not None and method.upper() in route.methods


def _ask(service: HttpClient) -> Part:
    try:
        with _at_most(ASK_SECONDS):
            answer = service.get("/openapi.json")
    except UpstreamError as error:
        raise _unavailable(str(error)) from error
    if answer.status != 200:
        raise _unavailable(f"{service.upstream} answered {answer.status}")
    return orjson.loads(answer.body)


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Calls in the block end after ``seconds``, or when the client stops waiting."""
    request = context.current()
    context.enter(request and replace(request, deadline=nearest(time.monotonic(), seconds, request.deadline)))
    try:
        yield
    finally:
        context.enter(request)


def _unavailable(reason: str) -> problem.Unavailable:
    return problem.Unavailable(f"The document cannot be put together: {reason}.", headers={"Retry-After": "1"})
