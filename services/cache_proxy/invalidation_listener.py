"""Invalidation: when an origin says that paths have changed, every answer stored under them is dropped.

    users, orders ──► channel ``cache:invalidate``: ["/users/7/orders", "/orders/stats"] ──► this thread ──► Redis

Example: an order is placed by user 7; a millisecond later the next reader of /users/7/orders?limit=5 is a miss, and
so is the reader of every other query of that path.

Trade-off: pub/sub keeps nothing. What is said while this process is away or reconnecting is lost, and answers about
it stay stale, at most until ``cache.ttl`` is over. Paths already heard are kept and dropped once Redis is back. With
several processes each one hears every message; all but the first find nothing left to drop.
Use instead: a stream read from a stored position, when staleness must be bounded by less than the time to live.
"""

import threading

import orjson
from redis import Redis
from redis.exceptions import RedisError

from costlab.service import logs, metrics
from costlab.service.invalidation import CHANNEL
from services.cache_proxy.cache_store import GENERATION

LISTEN_SECONDS = 0.25
RECONNECT_SECONDS = 0.2


class InvalidationListener:
    """Follows the channel from a thread of this process."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._heard: set[str] = set()
        self._away = False
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to listen."""
        # Made here: one made before a fork counts as ended after it.
        self._thread = threading.Thread(target=self._run, name="invalidation", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def check(self) -> None:
        """Raise when the thread has died: stale answers would be served without anybody noticing."""
        if self._thread is None or not self._thread.is_alive():
            raise RuntimeError("the thread that listens for invalidations is not running")

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except RedisError as error:
                if not self._away:
                    logs.get("invalidation").warning("invalidation.redis_away", extra={"reason": str(error)})
                self._away = True
                self._stopped.wait(RECONNECT_SECONDS)

    def _listen(self) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe(CHANNEL)
            while not self._stopped.is_set():
                message = pubsub.get_message(timeout=LISTEN_SECONDS)
                if message is not None:
                    self._heard |= _paths(message["data"])
                self._drop()

    def _drop(self) -> None:
        """Drop what was heard. A path is forgotten once Redis has done it."""
        if self._away:
            logs.get("invalidation").info("invalidation.listening_again")
            self._away = False
        if self._heard:
            dropped = self._redis.delete(*[GENERATION + path for path in self._heard])
            metrics.CACHE_INVALIDATIONS.inc(dropped)
            self._heard.clear()


def _paths(raw: bytes) -> set[str]:
    """The paths a message names; one that is not a JSON array of strings is logged and names none."""
    try:
        paths = orjson.loads(raw)
    except orjson.JSONDecodeError:
        paths = None
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        logs.get("invalidation").warning("invalidation.not_understood", extra={"message_start": repr(raw[:200])})
        return set()
    return set(paths)
