"""Faults over the internal port: what is active, add one, take one or all away. Changes take the stack's token.

GET    /faults          {"revision", "in_force", "faults": [record and its seconds left, ...]}
POST   /faults          a wish; 201 with its record once every process of this instance has it in force
POST   /faults/outside  the record of a fault that is made elsewhere, for the service that watches
DELETE /faults          all faults of all services
DELETE /faults/<id>     one
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from flask import Blueprint, Response, request
from redis.exceptions import RedisError

from costlab.service import metrics, problem
from costlab.service.fault_engine import FaultEngine
from costlab.service.faults import BadFault, Record
from costlab.service.internal import authorize, document

# Less than whoever asks waits for an answer.
IN_FORCE_SECONDS = 2.5
POLL_SECONDS = 0.01
_AWAY = "Redis, which holds the faults, cannot be reached; nothing was changed."


def blueprint(engine: FaultEngine, token_file: Path | None) -> Blueprint:
    """The routes /faults."""
    routes = Blueprint("faults", __name__)

    @routes.get("/faults")
    def read() -> Response:
        now = time.time()
        active = [record.document() | {"seconds_left": round(record.left(now), 3)} for record in engine.records()]
        return document({"revision": engine.revision, "in_force": _in_force(engine), "faults": active})

    @routes.post("/faults")
    def add() -> Response:
        authorize(token_file)
        record, revision = _added(engine)
        answer = document({"revision": revision, "fault": record.document()})
        answer.status_code = 201
        return answer

    @routes.post("/faults/outside")
    def see() -> Response:
        """Show a fault that is being made outside of all services; nothing else follows from it."""
        authorize(token_file)
        with _refusals():
            return document({"revision": engine.store.add(engine.outside(orjson.loads(request.get_data())))})

    @routes.delete("/faults", defaults={"identity": ""})
    @routes.delete("/faults/<identity>")
    def remove(identity: str) -> Response:
        authorize(token_file)
        try:
            revision, removed = engine.store.remove(identity) if identity else engine.store.clear()
        except RedisError as error:
            raise problem.Unavailable(_AWAY) from error
        if identity and not removed:
            raise problem.NotFound(f"There is no fault {identity}.")
        return document({"revision": revision, "removed": removed})

    return routes


def _added(engine: FaultEngine) -> tuple[Record, int]:
    """The record that was asked for, in force, and its revision."""
    with _refusals():
        record = engine.granted(engine.registry.wish(orjson.loads(request.get_data())))
        revision = engine.store.add(record)
    deadline = time.monotonic() + IN_FORCE_SECONDS
    while _in_force(engine) < revision:
        if time.monotonic() > deadline:
            engine.store.remove(record.id)
            raise problem.Unavailable(f"Not in force in every process within {IN_FORCE_SECONDS:g} s; taken back.")
        time.sleep(POLL_SECONDS)
    return record, revision


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except BadFault as error:
        raise problem.Invalid(f"{error}.") from error
    except orjson.JSONDecodeError as error:
        raise problem.BadRequest(f"The body is not JSON: {error}.") from error
    except RedisError as error:
        raise problem.Unavailable(_AWAY) from error


def _in_force(engine: FaultEngine) -> float:
    return metrics.live_minimum("costlab_faults_revision", engine.service)
