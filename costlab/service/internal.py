"""The internal port of a service: metrics, flags, kept spans and its configuration document. Never routed by the
gateway; changes take the stack's token."""

import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import orjson
from flask import Blueprint, Response, request
from pydantic import BaseModel, Field, ValidationError
from redis import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from costlab.service import context, metrics, problem, process_usage, profiling
from costlab.service.configuration import BadValue, Configuration
from costlab.service.flags import Flags, FlagStore, Registry
from costlab.service.kept_spans import KeptSpans

_Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class Block(BaseModel):
    """Which block of an experiment is under load; round 0: none of that variant."""

    experiment: _Name
    variant: _Name
    round: Annotated[int, Field(ge=0)]


def blueprint(registry: Registry, flags: Flags, redis: Redis, token_file: Path | None) -> Blueprint:
    """The routes /metrics, /flags and /block."""
    routes = Blueprint("internal", __name__)
    store = FlagStore(redis, registry)
    record_usage = process_usage.Recorder()

    @routes.get("/metrics")
    def scrape() -> Response:
        record_usage()
        body, content_type = metrics.render(request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)

    @routes.get("/flags")
    def read() -> Response:
        return document({"revision": flags.revision, "flags": flags.snapshot()})

    @routes.patch("/flags")
    def change() -> Response:
        authorize(token_file)
        try:
            changes = _changes('flag names and values, for instance {"cache.ttl": 5}')
            profiling.refuse(changes)
            return document({"revision": store.set(changes)})
        except ValueError as error:
            raise problem.Invalid(str(error)) from error
        except RedisError as error:
            raise unanswered("Redis, which holds the flags", error) from error

    @routes.put("/block")
    def mark() -> Response:
        """Note which block of an experiment is under load, for whoever looks at metrics; nothing follows from it."""
        authorize(token_file)
        try:
            block = Block.model_validate_json(request.get_data())
        except ValidationError as error:
            raise problem.from_validation(error, "body") from error
        metrics.BLOCK.labels(block.experiment, block.variant).set(block.round)
        return document(block.model_dump())

    return routes


def configuration(configuration: Configuration, token_file: Path | None) -> Blueprint:
    """The route /config."""
    routes = Blueprint("configuration", __name__)
    holder = "Redis, which holds the configuration document"

    @routes.get("/config")
    def read() -> Response:
        try:
            revision, given = configuration.stored()
        except RedisError as error:
            raise problem.Unavailable(f"{holder}, cannot be reached.") from error
        running = {"revision": configuration.revision, "document": dict(configuration.document)}
        stored = {"revision": revision, "document": dict(configuration.schema.default()) | given}
        fields = configuration.schema.describe()
        return document({"service": configuration.service, "running": running, "stored": stored, "fields": fields})

    @routes.patch("/config")
    def change() -> Response:
        authorize(token_file)
        changes = _changes("fields and values; null puts a field back to its default")
        try:
            return document({"revision": configuration.set(changes)})
        except BadValue as error:
            raise problem.Invalid(f"{error}", errors=error.errors) from error
        except RedisError as error:
            raise unanswered(holder, error) from error

    return routes


def spans(service: str, kept: KeptSpans | None, flush: Callable[[], None]) -> Blueprint:
    """The route /spans/ID: what is kept of a request or a trace, after ``flush`` of what this process has not yet."""
    routes = Blueprint("spans", __name__)

    @routes.get("/spans/<identity>")
    def read(identity: str) -> Response:
        if not context.SAFE_ID.fullmatch(identity):
            raise problem.Invalid("An id has 1 to 64 letters, digits, dots, dashes or underscores.")
        flush()
        found, oldest = ([], None) if kept is None else (kept.of(identity), kept.oldest())
        return document({"service": service, "oldest": oldest, "spans": found})

    return routes


def document(content: object) -> Response:
    """``content`` as JSON."""
    return Response(orjson.dumps(content), content_type="application/json")


def unanswered(holder: str, error: RedisError) -> problem.Unavailable:
    """What to say of a change that ``holder`` did not confirm. A Redis that hangs makes it once it goes on."""
    if isinstance(error, RedisTimeoutError):
        return problem.Unavailable(f"{holder}, did not answer in time; whether it was set is not known.")
    return problem.Unavailable(f"{holder}, cannot be reached; nothing was set.")


def _changes(of: str) -> dict[str, object]:
    try:
        changes = orjson.loads(request.get_data())
    except orjson.JSONDecodeError as error:
        raise problem.BadRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(changes, dict) or not changes:
        raise problem.Invalid(f"The body is an object of {of}.")
    return changes


def authorize(token_file: Path | None) -> None:
    """Unauthorized unless the request carries the stack's token."""
    if token_file is None or not token_file.is_file():
        raise problem.Unauthorized("This service was started without a token file, so nothing can be changed.")
    expected = f"Bearer {token_file.read_text().strip()}"
    if not hmac.compare_digest(expected.encode(), request.headers.get("Authorization", "").encode()):
        raise problem.Unauthorized("Changes take the stack's token: Authorization: Bearer <token>.")
