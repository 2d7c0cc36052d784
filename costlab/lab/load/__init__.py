"""Drives open-model load at a base URL and returns one sample per request.

    spec = LoadSpec("http://127.0.0.1:8080", Path("loadtests/traffic/browse.json"), rate=100, seconds=10,
                    settle_seconds=3, seed=1, api_key="demo")
    result = run_load(spec)

Arrivals follow a fixed schedule, whatever the server does, and latency counts from the planned send time: a
closed-loop tester waits for each answer before it asks again, and so hides every stall (Schroeder et al., NSDI'06).
"""

import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from costlab.lab.load import open_model
from costlab.lab.load.hooks import Hooks
from costlab.lab.load.k6 import find_k6, in_docker, run_k6, run_k6_in_docker, scenario_of, version
from costlab.lab.load.spec import (
    MOST_CONNECTIONS,
    SAMPLE,
    LoadError,
    LoadResult,
    LoadSpec,
    LoadStopped,
    reachable_address,
)
from costlab.lab.load.traffic import load_traffic

__all__ = [
    "GENERATORS",
    "MOST_CONNECTIONS",
    "SAMPLE",
    "LoadError",
    "LoadResult",
    "LoadSpec",
    "LoadStopped",
    "find_k6",
    "run_load",
    "used_for",
]

GENERATORS = ("auto", "k6", "k6-docker", "open-model")


def run_load(
    spec: LoadSpec,
    generator: str = "auto",
    progress: Callable[[float, dict], None] | None = None,
    stop: threading.Event | None = None,
    on_measure_start: Callable[[], None] | None = None,
    on_measure_end: Callable[[], None] | None = None,
) -> LoadResult:
    """Run one stretch of load and return what was sent and answered in its measured part.

    `generator`: "k6" (found as $K6 or on PATH), "k6-docker" (its official image), "open-model" (built in) or
    "auto": k6 if it is found and can do what `spec` asks, else the built-in one. The result names the one used.
    `progress(done, facts)` is called about once a second, see Hooks. `on_measure_start` and `on_measure_end` are
    called with no request under way, just before the measured stretch and just after its last answer.
    Setting `stop` ends the load at once and raises LoadStopped. Whatever ends the load, its process is gone.
    """
    if generator not in GENERATORS:
        raise LoadError(f"load: generator is {generator!r}; allowed: {', '.join(GENERATORS)}")
    traffic = load_traffic(spec.traffic, spec.seed, run=uuid.uuid4().hex)
    reachable_address(spec)
    given = {
        "progressed": progress,
        "stop": stop,
        "measure_started": on_measure_start,
        "measure_ended": on_measure_end,
    }
    hooks = Hooks(**{name: value for name, value in given.items() if value is not None})
    if generator == "auto":
        generator = _chosen(spec.arrivals, spec.traffic)
    run = {"k6": run_k6, "k6-docker": run_k6_in_docker, "open-model": open_model.run_open_model}[generator]
    return run(spec, traffic, hooks)


def used_for(traffic: Path, generator: str = "auto") -> str:
    """What a result would name as its generator here and now; "auto" alone says nothing of that."""
    if generator == "auto":
        generator = _chosen("uniform", traffic)
    if generator == "open-model":
        return open_model.NAME
    command = in_docker() if generator == "k6-docker" else [k6] if (k6 := find_k6()) else []
    # What is missing the load tells of at its first block, and how to mend it.
    return version(command) if command else f"{generator}, which is missing"


def _chosen(arrivals: str, traffic: Path) -> str:
    return "k6" if find_k6() is not None and arrivals == "uniform" and scenario_of(traffic).is_file() else "open-model"
