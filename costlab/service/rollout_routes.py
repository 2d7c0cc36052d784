"""Rollouts over the internal port: what is rolled out, roll out, end. Changes take the stack's token.

GET   /rollouts      {"revision", "rollouts": {flag: {"value", "percent", "salt", "until", "seconds_left"}}}
PATCH /rollouts      {flag: {"value", "percent"; "salt", "seconds" if wanted}, other flag: null to end its rollout}
"""

import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import orjson
from flask import Blueprint, Response, request
from redis import Redis
from redis.exceptions import RedisError

from costlab.service import problem, rollout
from costlab.service.flags import Flags, FlagStore, Registry
from costlab.service.internal import authorize, document, unanswered
from costlab.service.rollout import BadRollout, Rollout

_EXAMPLE = '{"users.version": {"value": "v2", "percent": 10}}'


def blueprint(registry: Registry, flags: Flags, redis: Redis, token_file: Path | None) -> Blueprint:
    """The routes /rollouts."""
    routes = Blueprint("rollouts", __name__)
    store = FlagStore(redis, registry)

    @routes.get("/rollouts")
    def read() -> Response:
        now = time.time()
        running = {
            name: asdict(found) | {"seconds_left": round(found.until - now, 3)}
            for name, found in flags.rollouts.items()
            if found.until > now
        }
        return document({"revision": flags.revision, "rollouts": running})

    @routes.patch("/rollouts")
    def change() -> Response:
        authorize(token_file)
        try:
            return document({"revision": store.roll_out(_wishes(request.get_data(), time.time()))})
        except orjson.JSONDecodeError as error:
            raise problem.BadRequest(f"The body is not JSON: {error}.") from error
        except ValueError as error:
            raise problem.Invalid(f"{error}") from error
        except RedisError as error:
            raise unanswered("Redis, which holds the rollouts", error) from error

    return routes


def _wishes(body: bytes, now: float) -> dict[str, Rollout | None]:
    changes = orjson.loads(body)
    if not isinstance(changes, dict) or not changes:
        raise BadRollout(f"the body is an object of flags and rollouts, for instance {_EXAMPLE}")
    return {name: None if wish is None else _wished(name, wish, now) for name, wish in changes.items()}


def _wished(flag: str, wish: object, now: float) -> Rollout:
    if not isinstance(wish, Mapping):
        raise BadRollout(f"{flag}: a rollout is an object, for instance {_EXAMPLE}")
    return rollout.wished(wish, secrets.token_hex(4), now)
