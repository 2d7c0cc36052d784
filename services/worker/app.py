"""worker: fulfils placed orders. Its work comes over the job stream; HTTP only tells how it is and what it has done."""

from flask import Flask

from costlab.service import redis_client
from costlab.service.app import Service
from costlab.service.settings import load
from services.worker import routes
from services.worker.consumer import Consumer
from services.worker.consumer_pool import ConsumerPool
from services.worker.job import Work
from services.worker.job_stream import JobStream
from services.worker.settings import WorkerSettings
from services.worker.store import FulfilmentStore

# Longer than a consumer blocks for its next job.
ANSWER_SECONDS = 2.0


def create_app() -> Flask:
    """The worker as the environment describes it."""
    return create(load(WorkerSettings, "worker")).app


def create(settings: WorkerSettings) -> Service:
    """The worker under ``settings``."""
    service = Service("worker", settings)
    store = FulfilmentStore(service.database(settings.database_url))
    service.app.register_blueprint(routes.blueprint(store))
    work = Work(settings.job_cpu_ms, settings.job_wait_ms)
    redis = redis_client.connect(settings.redis_url, ANSWER_SECONDS)
    service.on_stop(redis.close)

    def consumer(name: str) -> Consumer:
        stream = JobStream(redis, name)
        return Consumer(stream, work, store, service.tracing, settings.job_attempts, settings.job_claim_ms)

    consumers = ConsumerPool(settings.worker_threads, consumer)
    service.on_start(consumers.start)
    service.on_stop(consumers.stop)
    service.check("redis", service.redis.ping)
    service.check("consumers", consumers.check)
    return service
