"""A worker process that comes to a stop at a point of a job, for tests that kill it there.

    python -m tests.services.worker.stuck_consumer before_work|before_commit|before_acknowledgement REDIS DATABASE

It prints the name of the point when it is there.
"""

import os
import sys
import threading

from costlab.service import redis_client
from costlab.service.database import Database
from costlab.service.flags import Flags, Registry
from costlab.service.tracing import Tracing
from services.worker.consumer import Consumer
from services.worker.job import Work
from services.worker.job_stream import JobStream
from services.worker.store import FulfilmentStore


def main(point: str, redis_url: str, database_url: str) -> None:
    def reach(here: str) -> None:
        if here == point:
            print(here, flush=True)  # noqa: T201 - what the test waits for
            threading.Event().wait()

    class StuckStream(JobStream):
        def finish(self, deliveries):
            reach("before_acknowledgement")

    class StuckStore(FulfilmentStore):
        def add(self, rows, write, barrier=None):
            reach("before_commit")
            return super().add(rows, write, barrier)

    class StuckWork(Work):
        def do(self, job):
            reach("before_work")

    redis = redis_client.connect(redis_url, 2.0)
    flags = Flags(Registry.load(), redis)
    tracing = Tracing("worker", flags, None)
    store = StuckStore(Database(database_url, flags, tracing, "stuck"))
    stream = StuckStream(redis, f"stuck-{os.getpid()}")
    Consumer(stream, StuckWork(0, 0), store, tracing, flags, 5, 60_000).run(threading.Event())


if __name__ == "__main__":
    main(*sys.argv[1:])
