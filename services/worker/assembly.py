"""What a consumer is made of, the same in every kind of pool."""

from costlab.service import redis_client
from costlab.service.database import Database
from costlab.service.fault_edges import NO_EDGE, Edge
from costlab.service.flags import Flags
from costlab.service.tracing import Tracing
from services.worker.consumer import Consumer
from services.worker.job import Work
from services.worker.job_stream import JobStream
from services.worker.settings import WorkerSettings
from services.worker.store import FulfilmentStore

SERVICE = "worker"
# Longer than a consumer blocks for its next job.
ANSWER_SECONDS = 2.0


class Assembly:
    """The parts that the consumers of one process share."""

    def __init__(
        self,
        settings: WorkerSettings,
        database: Database,
        tracing: Tracing,
        flags: Flags,
        edge: Edge = NO_EDGE,
    ) -> None:
        self.store = FulfilmentStore(database)
        self._settings = settings
        self._tracing = tracing
        self._flags = flags
        self._work = Work(settings.job_cpu_ms, settings.job_wait_ms)
        self._redis = redis_client.connect(settings.redis_url, ANSWER_SECONDS, edge)

    def consumer(self, name: str) -> Consumer:
        """The consumer of this name in the group."""
        return Consumer(
            JobStream(self._redis, name),
            self._work,
            self.store,
            self._tracing,
            self._flags,
            self._settings.job_attempts,
            self._settings.job_claim_ms,
        )

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()
