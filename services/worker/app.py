"""worker: fulfils placed orders. Its work comes over the job stream; HTTP only tells how it is and what it has done."""

from flask import Flask

from costlab.service.app import Service
from costlab.service.settings import load
from services.worker import routes
from services.worker.assembly import SERVICE, Assembly
from services.worker.consumer_pool import ConsumerPool
from services.worker.settings import WorkerSettings


def create_app() -> Flask:
    """The worker as the environment describes it."""
    return create(load(WorkerSettings, SERVICE)).app


def create(settings: WorkerSettings) -> Service:
    """The worker under ``settings``."""
    service = Service(SERVICE, settings)
    database, edge = service.database(settings.database_url), service.faults.edge("redis")
    assembly = Assembly(settings, database, service.tracing, service.flags, edge)
    service.on_stop(assembly.close)
    service.app.register_blueprint(routes.blueprint(assembly.store))
    consumers = ConsumerPool(service.flags, settings, assembly.consumer)
    service.on_start(consumers.start)
    service.on_stop(consumers.stop)
    service.check("redis", service.redis.ping, dependency=True)
    service.check("consumers", consumers.check)
    return service
