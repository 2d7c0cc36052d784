"""Restart flags: knobs that only a new process can take over, recorded like all flags, read once at start.

    costlab flags set service.preload=on ─┬─► Redis, with the other flags
                                          └─► the stack restarts the services
                                                   └─► infra/gunicorn.conf.py reads them here, into its environment

They pass through the environment, so settings are validated as ever and a flag that was never set leaves the variable
as it was given. Because the service itself reads them at every start, one that crashes, is restarted by Docker, or
comes up again tomorrow has them too. What ``/flags`` and ``costlab flags list`` show is what the process runs with.

Example: ``service.processes=4`` on a stack started with COSTLAB_PROCESSES=2 runs 4; after ``reset`` and restart, 2.
Trade-off: a restart takes seconds and, without a drain, requests. Use instead: a live flag, wherever that is possible.
"""

from redis.exceptions import RedisError

from costlab.service import redis_client
from costlab.service.flags import FlagStore, Registry, Value
from costlab.service.settings import PREFIX, ServerSettings

# Flag to the variable it sets.
VARIABLES = {
    "service.processes": "COSTLAB_PROCESSES",
    "service.threads": "COSTLAB_THREADS",
    "service.preload": "COSTLAB_PRELOAD",
    "service.gc_freeze": "COSTLAB_GC_FREEZE",
}


def recorded(redis_url: str) -> dict[str, str]:
    """The variables that the flags in Redis set; none when Redis cannot be read, then the environment stands."""
    try:
        redis = redis_client.connect(redis_url)
    except ValueError:
        return {}  # no URL: the settings will say so
    try:
        held = FlagStore(redis, Registry.load()).given()
    except RedisError:
        return {}
    finally:
        redis.close()
    return {VARIABLES[name]: str(value) for name, value in (held or (0, {}))[1].items() if name in VARIABLES}


def running(settings: ServerSettings) -> dict[str, Value]:
    """The values this process was started with."""
    return {name: getattr(settings, variable.removeprefix(PREFIX).lower()) for name, variable in VARIABLES.items()}
