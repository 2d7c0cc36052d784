"""What every service is made of. A service adds its routes, its store and its settings, and nothing else.

def create_app() -> Flask:
    settings = load(UsersSettings, "users")
    service = Service("users", settings)
    database = service.database(settings.database_url)
    service.app.register_blueprint(routes.blueprint(UserStore(database)))
    return service.app
"""

from collections.abc import Callable

import orjson
from flask import Flask, request
from flask.json.provider import JSONProvider
from redis import Redis

from costlab.service import (
    fault_routes,
    health,
    internal,
    logs,
    metrics,
    openapi,
    problem,
    redis_client,
    restart_flags,
    rollout_routes,
)
from costlab.service.circumstances import Circumstances
from costlab.service.configuration import Configuration, Document
from costlab.service.context import ROUTE
from costlab.service.database import Database
from costlab.service.door import Door
from costlab.service.fault_engine import FaultEngine
from costlab.service.fault_header import FaultHeader
from costlab.service.flags import Flags, Registry
from costlab.service.http_client import HttpClient
from costlab.service.profiling import Profiling
from costlab.service.readiness import Check
from costlab.service.replica_set import Picker
from costlab.service.settings import ServiceSettings
from costlab.service.shutdown import KINDS, Shutdown
from costlab.service.slots import Slots
from costlab.service.tracing import Tracing

MAX_REQUEST_BYTES = 1024 * 1024


class _Json(JSONProvider):
    def dumps(self, obj, **kwargs) -> str:
        return orjson.dumps(obj).decode()

    def loads(self, s, **kwargs):
        return orjson.loads(s)


class Service:
    """A Flask app with flags, metrics, traces, logs, health and errors wired in.

    ``edge`` is true for the service at the public door. Parts register what must run with the process through
    ``on_start`` and ``on_stop`` (called in reverse order), and what readiness depends on through ``check``.
    """

    def __init__(self, name: str, settings: ServiceSettings, edge: bool = False) -> None:
        logs.configure(name, settings.log_level)
        self.name = name
        # Flags and faults have a connection of their own, which no fault meets.
        control = redis_client.connect(settings.redis_url)
        self.faults = FaultEngine(name, control, settings.internal_port(), watches=edge)
        registry = Registry.load()
        applied = metrics.FLAGS_REVISION.labels(name).set
        self.flags = Flags(registry, control, applied, restart_flags.running(settings))
        circumstances = Circumstances(registry, self.flags, self.faults)
        self.tracing = Tracing(name, self.flags, settings.otlp_endpoint, edge, circumstances.attributes)
        self.redis = self.redis_for(settings.redis_url)
        self._health = health.Health(self.flags)
        self._preloads: list[Callable[[], None]] = [self.flags.preload]
        self._starts: list[Callable[[], None]] = [self.flags.start, self.faults.start, self.tracing.start]
        self._stops: list[Callable[[], None]] = [
            self.redis.close,
            control.close,
            self.flags.stop,
            self.faults.stop,
            self.tracing.stop,
        ]

        self.app = _flask(name)
        self.app.register_blueprint(self._health.blueprint())
        if not edge:
            self.app.add_url_rule("/openapi.json", view_func=self._openapi)
        inside = self._inside = _flask(f"{name}-internal")
        self._token_file = settings.token_file
        inside.register_blueprint(self._health.blueprint())
        inside.register_blueprint(internal.blueprint(registry, self.flags, control, settings.token_file))
        inside.register_blueprint(internal.spans(name, self.tracing.kept, self.tracing.flush))
        inside.register_blueprint(rollout_routes.blueprint(registry, self.flags, control, settings.token_file))
        inside.register_blueprint(fault_routes.blueprint(self.faults, settings.token_file))
        header = FaultHeader(self.faults, settings.token_file)
        self.door = Door(
            self.app.wsgi_app, inside.wsgi_app, settings.internal_port(), self.tracing, self.faults.inbound, header
        )
        self.faults.know_routes(self._routes)
        profiling = Profiling(self.door, self.flags, settings.internal_port())
        self.app.wsgi_app = profiling
        self.on_stop(profiling.stop)
        inside.add_url_rule("/profile", view_func=profiling.document)
        self.app.extensions["costlab"] = self

    def database(self, dsn: str) -> Database:
        """PostgreSQL under ``dsn``; the service is ready only while it answers."""
        database = Database(dsn, self.flags, self.tracing, self.name, self.faults.edge("postgres"))
        self.check("postgres", database.ping, dependency=True)
        self.on_stop(database.close)
        return database

    def client(self, upstream: str, base_url: str, timeout: float = 5.0, picker: Picker | None = None) -> HttpClient:
        """A client for another service, at one address or several (costlab/service/addresses.py)."""
        edge = self.faults.edge(upstream)
        client = HttpClient(upstream, base_url, self.flags, self.tracing, timeout, edge, picker)
        self.on_start(client.start)
        self.on_stop(client.close)
        return client

    def configuration(self, model: type[Document]) -> Configuration[Document]:
        """The service's configuration document, with its place on the internal port."""
        configuration = Configuration(self.name, model, self.redis, self.flags)
        self._inside.register_blueprint(internal.configuration(configuration, self._token_file))
        self.faults.parts.configuration = configuration
        self.on_start(configuration.start)
        self.on_stop(configuration.stop)
        return configuration

    def tell(self, path: str, content: Callable[[], dict]) -> None:
        """Answer ``path`` on the internal port with ``content()``."""
        self._inside.add_url_rule(path, path, content)

    def redis_for(self, url: str, answer_seconds: float = redis_client.ANSWER_SECONDS) -> Redis:
        """Redis under ``url``, with a patience of its own; calls to it meet the faults of edge redis."""
        return redis_client.connect(url, answer_seconds, self.faults.edge("redis"), self.tracing)

    def slots(self, slots: str, milliseconds: str) -> None:
        """Put a slot pool, as these two flags say, in front of the service's own routes."""
        self.faults.parts.slots = Slots(self.app, self.flags, slots, milliseconds)

    def check(self, name: str, check: Check, dependency: bool = False) -> None:
        """Make readiness depend on ``check`` (raises when not ready): of this process, or of a ``dependency``."""
        self._health.add(name, check, dependency)

    def on_preload(self, action: Callable[[], None]) -> None:
        """Run ``action`` in gunicorn's master where the app is preloaded: what it loads is shared by all processes.
        No thread and no connection may be left of it.
        """
        self._preloads.append(action)

    def on_start(self, action: Callable[[], None]) -> None:
        """Run ``action`` in each worker process before it serves."""
        self._starts.append(action)

    def on_stop(self, action: Callable[[], None]) -> None:
        """Run ``action`` in each worker process after its last request."""
        self._stops.append(action)

    def _openapi(self) -> dict:
        return openapi.document(self.app, self.name)

    def _routes(self) -> list[str]:
        """The routes of the service's own: of Flask's, those that are not about its health."""
        return [rule.rule for rule in self.app.url_map.iter_rules() if rule.rule not in health.PATHS]

    def leave(self) -> Shutdown:
        """Be ready no longer; how to go."""
        self._health.leave()
        return KINDS[self.flags["service.shutdown"]]

    def preload(self) -> None:
        """Load what the worker processes can share, before they are forked."""
        for action in self._preloads:
            action()

    def start(self) -> None:
        """Start what runs beside requests."""
        for action in self._starts:
            action()

    def stop(self) -> None:
        """Stop it, the last started first."""
        for action in reversed(self._stops):
            action()


class _App(Flask):
    def dispatch_request(self):
        # Flask forgets the matched rule before the door, outside of it, can read it.
        if request.url_rule is not None:
            request.environ[ROUTE] = request.url_rule.rule
        return super().dispatch_request()


def _flask(name: str) -> Flask:
    app = _App(name, static_folder=None)
    app.json = _Json(app)
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    problem.install(app)
    return app
