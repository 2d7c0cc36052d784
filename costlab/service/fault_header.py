"""A fault for one request only, asked for by whoever sends it:

    X-Costlab-Fault: latency;ms=200;on=orders
    X-Costlab-Token: <the stack's token>

The first service checks the token and keeps it. Where another service is meant it hands the wish on with a signature,
which only somebody with the token can make and which holds for this request id alone; the service that is meant hands
nothing on. The answer of the service that the fault has met says ``X-Costlab-Fault: latency``.

Grammar: name *(";" key "=" value), keys are the fault's parameters, ``on`` and ``seed``; anything else is a 400.
Without a good token or signature it is a 403. A wait ends after DEFAULT_SECONDS at the latest.
"""

import hashlib
import hmac
import re
import time
from pathlib import Path
from wsgiref.types import WSGIEnvironment

from costlab.service import context
from costlab.service.fault_edges import Active
from costlab.service.fault_engine import FaultEngine
from costlab.service.fault_kinds import KINDS
from costlab.service.faults import DEFAULT_SECONDS, INBOUND, BadFault, Record, Wish
from costlab.service.health import PATHS
from costlab.service.problem import BadRequest, Forbidden

FAULT = "X-Costlab-Fault"
TOKEN = "X-Costlab-Token"  # noqa: S105 - a header's name
SIGNATURE = "X-Costlab-Fault-Signature"
FAULT_KEY = "HTTP_X_COSTLAB_FAULT"
TOKEN_KEY = "HTTP_X_COSTLAB_TOKEN"  # noqa: S105
SIGNATURE_KEY = "HTTP_X_COSTLAB_FAULT_SIGNATURE"

_GRAMMAR = re.compile(r"[a-z_]{1,40}(; ?[a-z_]{1,40}=[a-z0-9.-]{1,40}){0,10}")


class FaultHeader:
    """Reads the headers for the service of ``engine``."""

    def __init__(self, engine: FaultEngine, token_file: Path | None) -> None:
        self._engine = engine
        self._token_file = token_file

    def read(self, environ: WSGIEnvironment, request: context.Request) -> Active | None:
        """The fault of this request, if it is this service's; else it is left in ``request`` to be handed on.

        The headers are taken out of ``environ``: nothing behind the door sees them.
        """
        value, token, signature = (environ.pop(key, "") for key in (FAULT_KEY, TOKEN_KEY, SIGNATURE_KEY))
        secret = self._secret()
        ours = hmac.compare_digest(token.encode(), secret)
        if not ours and not hmac.compare_digest(signature.encode(), sign(secret, request.request_id, value).encode()):
            raise Forbidden(f"A fault takes the stack's token: {TOKEN}: <token>.")
        if environ["PATH_INFO"] in PATHS:
            raise BadRequest("What tells of a service's health meets no faults.")
        try:
            wish = parse(value, self._engine, first=ours)
        except BadFault as error:
            raise BadRequest(f"{FAULT}: {error}.") from error
        if wish.on != self._engine.service:
            request.fault = f"{FAULT}: {value}\r\n{SIGNATURE}: {sign(secret, request.request_id, value)}\r\n".lower()
            return None
        record = Record.of(wish, time.time())
        return Active(record, KINDS[wish.fault](**wish.parameters), time.monotonic() + wish.ttl)

    def _secret(self) -> bytes:
        found = self._token_file is not None and self._token_file.is_file()
        secret = self._token_file.read_text().strip().encode() if found else b""
        if not secret:
            raise Forbidden("This service was started without a token, so no fault can be asked for.")
        return secret


def parse(value: str, engine: FaultEngine, first: bool = True) -> Wish:
    """The wish in ``value``, for the service of ``engine`` unless it names another; BadFault says what is allowed.

    Only the ``first`` service refuses one it cannot reach: those behind it are asked for other reasons too.
    """
    if not _GRAMMAR.fullmatch(value):
        raise BadFault("it is written name;key=value;..., for instance latency;ms=200;on=orders")
    name, *pairs = re.split("; ?", value)
    given = [tuple(pair.split("=")) for pair in pairs]
    words = dict(given)
    if len(words) < len(given):
        raise BadFault("a key is given twice")
    on = words.pop("on", engine.service)
    fault = engine.registry[name]
    if INBOUND not in fault.at or fault.level != "service":
        raise BadFault(f"{name} cannot be made for one request")
    reached = [engine.service, *engine.upstreams()]
    if first and on not in reached:
        raise BadFault(f"no service {on!r} is reached from here; there are: {', '.join(reached)}")
    seed = {"seed": words.pop("seed")} if "seed" in words else {}
    return engine.registry.wish(
        {"fault": name, "on": on, "rate": 1, "ttl": DEFAULT_SECONDS, "parameters": words} | seed
    )


def sign(secret: bytes, request_id: str, value: str) -> str:
    """What proves that somebody with ``secret`` wants the fault in ``value`` for that request."""
    return hmac.new(secret, f"{request_id}\n{value}".encode(), hashlib.sha256).hexdigest()
