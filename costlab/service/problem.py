"""Errors as RFC 9457 problem details: one JSON shape from every service, and the tree of things that go wrong.

Problem                     anything a client is told about, with its HTTP status
├── BadRequest        400   the request cannot be understood
├── Unauthorized      401   no or wrong credentials
├── Forbidden         403   this takes the stack's token
├── NotFound          404
├── MethodNotAllowed  405   the route exists, but not for this method
├── RequestTimeout    408   the client did not send its body in time
├── Conflict          409   the request contradicts what is stored
├── TooLarge          413   body over the limit
├── UnsupportedMedia  415   a body that is not JSON
├── Invalid           422   understood, but a value is not allowed
├── TooManyRequests   429   over the client's rate
├── BadGateway        502   an upstream broke the connection or answered nonsense
├── Unavailable       503   cannot be served now, may be soon
└── GatewayTimeout    504   an upstream did not answer in time
"""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar
from wsgiref.types import StartResponse

import orjson
from flask import Flask, Response
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from costlab.service import context, logs

MEDIA_TYPE = "application/problem+json"
UNEXPECTED = "The service failed in a way it did not expect; the log has the request id."


class Problem(Exception):
    """What a client is told: ``detail`` says what happened and what to do; ``extras`` are further JSON members."""

    status: ClassVar[int] = 500

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **extras: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.extras = extras


class BadRequest(Problem):
    status = 400


class Unauthorized(Problem):
    status = 401


class Forbidden(Problem):
    status = 403


class NotFound(Problem):
    status = 404


class MethodNotAllowed(Problem):
    status = 405


class RequestTimeout(Problem):
    status = 408


class Conflict(Problem):
    status = 409


class TooLarge(Problem):
    status = 413


class UnsupportedMedia(Problem):
    status = 415


class Invalid(Problem):
    status = 422


class TooManyRequests(Problem):
    status = 429


class BadGateway(Problem):
    status = 502


class Unavailable(Problem):
    status = 503


class GatewayTimeout(Problem):
    status = 504


def body(status: int, detail: str, extras: Mapping[str, Any]) -> bytes:
    """The problem document as JSON bytes."""
    request = context.current()
    document = {"type": "about:blank", "title": phrase(status), "status": status, "detail": detail}
    if request is not None:
        document["request_id"] = request.request_id
    return orjson.dumps(document | dict(extras))


def phrase(status: int) -> str:
    """The words that go with a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unassigned"


def serve(refused: Problem, start: StartResponse) -> Iterable[bytes]:
    """The problem document as a WSGI answer, for who is in front of Flask."""
    document = body(refused.status, refused.detail, refused.extras)
    described = [("Content-Type", MEDIA_TYPE), ("Content-Length", str(len(document)))]
    start(f"{refused.status} {phrase(refused.status)}", [*refused.headers.items(), *described])
    return (document,)


def response(status: int, detail: str, headers: Mapping[str, str] | None = None, **extras: Any) -> Response:
    """The problem document as a Flask response."""
    return Response(body(status, detail, extras), status, dict(headers or {}), content_type=MEDIA_TYPE)


def from_validation(error: ValidationError, where: str) -> Invalid:
    """A 422 that lists each field that was refused and why; the refused input itself is not echoed."""
    errors = [
        {"field": ".".join(str(part) for part in item["loc"]) or where, "message": item["msg"]}
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    first = errors[0]
    return Invalid(f"{where}: {first['field']}: {first['message']}", errors=errors)


def install(app: Flask) -> None:
    """Answer every error of ``app`` with a problem document, 404 and 405 included."""

    @app.errorhandler(Problem)
    def of_problem(error: Problem) -> Response:
        return response(error.status, error.detail, error.headers, **error.extras)

    @app.errorhandler(HTTPException)
    def of_http(error: HTTPException) -> Response:
        headers = {name: value for name, value in error.get_headers() if name != "Content-Type"}
        return response(error.code or 500, error.description or "", headers)

    @app.errorhandler(Exception)
    def of_bug(error: Exception) -> Response:
        logs.get("app").exception("request.failed")
        return response(500, UNEXPECTED)


def join(values: Sequence[str]) -> str:
    """``a, b or c`` for messages that say what is allowed."""
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"
