"""A burst of traffic, as a process of its own that outlives who started it and ends at its time.

    python -m costlab.lab.load.burst http://127.0.0.1:8080 browse 200 30 7
                                     gateway, traffic, requests per second, seconds, seed

Says ``<pid> <when it started>`` once it sends, and lets go of its output then. SIGTERM ends it before its time. Made
for the fault traffic_burst (costlab/stack/input_faults.py); what becomes of the requests, nobody notes.
"""

import os
import signal
import sys
import threading

from costlab.failure import Failure
from costlab.lab.load import LoadSpec, LoadStopped, run_load
from costlab.stack import ROOT, fault_keeper

API_KEY = "demo"
# Who gets no answer for so long is not waited for: the burst shall be over when it is over.
TIMEOUT_SECONDS = 5.0


def main(base_url: str, traffic: str, per_second: str, seconds: str, seed: str) -> None:
    """Send for so many seconds."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    spec = LoadSpec(
        base_url=base_url,
        traffic=ROOT / "loadtests" / "traffic" / f"{traffic}.json",
        rate=float(per_second),
        seconds=float(seconds),
        settle_seconds=0,
        seed=int(seed),
        api_key=API_KEY,
        arrivals="poisson",
        timeout=TIMEOUT_SECONDS,
    )
    try:
        run_load(spec, "open-model", stop=stop, on_measure_start=_let_go)
    except LoadStopped:
        return
    except Failure as failure:
        sys.exit(str(failure))


def _let_go() -> None:
    os.write(1, f"{os.getpid()} {fault_keeper.identity(os.getpid())}\n".encode())
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)


if __name__ == "__main__":
    main(*sys.argv[1:])
