"""The body of a request: of at most a megabyte, there by the request's deadline, whole, or not passed on at all."""

import math
from wsgiref.types import WSGIEnvironment

from gunicorn.http.errors import ParseException

from costlab.service import context, problem
from costlab.service.app import MAX_REQUEST_BYTES
from costlab.service.leader_followers import CONNECTION


def read(environ: WSGIEnvironment) -> bytes:
    """The whole body, also of a chunked one; 400, 408 or 413 when it is not as it should be."""
    declared = environ.get("CONTENT_LENGTH") or ""
    if not declared and "HTTP_TRANSFER_ENCODING" not in environ:
        return b""
    length = int(declared) if declared else None
    if length is not None and length > MAX_REQUEST_BYTES:
        raise _too_large()
    body = _receive(environ, MAX_REQUEST_BYTES + 1 if length is None else length)
    if length is None and len(body) > MAX_REQUEST_BYTES:
        raise _too_large()
    if length is not None and len(body) < length:
        raise _incomplete(f"The body ended after {len(body)} of {length} bytes.")
    return body


def _receive(environ: WSGIEnvironment, size: int) -> bytes:
    connection = environ.get(CONNECTION)
    request = context.current()
    if connection is not None and request.deadline is not None:
        connection.receive_by = request.deadline
    try:
        return environ["wsgi.input"].read(size)
    except (OSError, ParseException) as error:
        raise _incomplete("The body ended early or is not chunked as HTTP says.") from error
    finally:
        if connection is not None:
            connection.receive_by = math.inf


def _incomplete(detail: str) -> problem.Problem:
    if context.current().remaining() == 0:
        return problem.RequestTimeout("The body did not arrive in time.")
    return problem.BadRequest(detail)


def _too_large() -> problem.TooLarge:
    return problem.TooLarge(f"The body is larger than {MAX_REQUEST_BYTES} bytes.")
