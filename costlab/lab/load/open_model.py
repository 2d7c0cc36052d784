"""The built-in open-model load generator, for machines without k6.

The requests and their send times are worked out beforehand and handed to a process of its own (sender.py), so that
its CPU is measured apart and nothing the lab does meanwhile delays a request. Between settle and measured stretch
the generator waits, with every settle request answered, until `on_measure_start` has returned: what the probes
read there belongs wholly to the settle stretch, and counts per request are exact.
"""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from costlab.lab.load.hooks import Hooks
from costlab.lab.load.processes import end
from costlab.lab.load.spec import SAMPLE, LoadError, LoadResult, LoadSpec, LoadStopped, reachable_address
from costlab.lab.load.traffic import Request, Traffic, planned_times

NAME = "costlab open-model"
_CONNECTIONS = 128
_SENDER = Path(__file__).with_name("sender.py")


def run_open_model(spec: LoadSpec, traffic: Traffic, hooks: Hooks) -> LoadResult:
    """Run one stretch of load with the built-in generator."""
    if spec.address().scheme != "http":
        raise LoadError(f"load: the built-in generator speaks plain HTTP only, not {spec.base_url}; use k6")
    family, address = reachable_address(spec)
    settle = planned_times(spec.rate, spec.settle_seconds, spec.arrivals, spec.seed)
    measure = planned_times(spec.rate, spec.seconds, spec.arrivals, spec.seed)
    requests = [traffic.request(i) for i in range(len(settle) + len(measure))]
    payloads = [_on_the_wire(spec, request) for request in requests]
    job = {
        "family": family,
        "address": address,
        "connections": spec.connections or _CONNECTIONS,
        "timeout": spec.timeout,
        "settle": list(zip(settle, payloads, strict=False)),
        "measure": list(zip(measure, payloads[len(settle) :], strict=True)),
    }
    with _sender_process() as (process, control):
        _send(process, control, job)
        _, started_at, cpu_seconds, outcomes = _follow(spec, process, control, hooks)
    hooks.measure_ended()
    names = [request.name for request in requests[len(settle) :]]
    samples = _samples(traffic.names, names, measure, outcomes)
    return LoadResult(
        generator=NAME,
        planned=len(measure),
        sent=len(samples),
        dropped=len(measure) - len(samples),
        samples=samples,
        names=traffic.names,
        started_at=started_at,
        cpu_seconds=cpu_seconds,
    )


@contextmanager
def _sender_process() -> Iterator[tuple[subprocess.Popen, Connection]]:
    """The sender and the connection to it; whatever happens, the process is gone afterwards."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", str(_SENDER), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the lab alone, which then ends the load in order
        )
    control = Connection(ours.detach())
    try:
        yield process, control
    finally:
        control.close()
        end(process)
        process.stderr.close()


def _follow(spec: LoadSpec, process: subprocess.Popen, control: Connection, hooks: Hooks) -> tuple:
    """Pass the sender's messages on until it is done."""
    whole = spec.settle_seconds + spec.seconds
    while True:
        message = _receive(process, control, hooks.stop)
        match message[0]:
            case "settle":
                hooks.progressed(message[1] / whole, {"phase": "settle", **message[2]})
            case "settled":
                hooks.measure_started()
                _send(process, control, "go")
            case "measure":
                elapsed = min(spec.settle_seconds + message[1], whole)
                hooks.progressed(elapsed / whole, {"phase": "measure", **message[2]})
            case "done":
                return message


def _send(process: subprocess.Popen, control: Connection, message: object) -> None:
    try:
        control.send(message)
    except OSError as error:
        raise _death_of(process) from error


def _receive(process: subprocess.Popen, control: Connection, stop: threading.Event) -> tuple:
    while not control.poll(0.1):
        if stop.is_set():
            raise LoadStopped("load: stopped before its end")
    try:
        return control.recv()
    except (EOFError, OSError) as error:
        raise _death_of(process) from error


def _death_of(process: subprocess.Popen) -> LoadError:
    process.wait(timeout=5)
    last_words = process.stderr.read().decode(errors="replace").strip().splitlines() or ["no message"]
    return LoadError(f"load: the generator ended with code {process.returncode}: {last_words[-1]}")


def _on_the_wire(spec: LoadSpec, request: Request) -> bytes:
    parts = spec.address()
    body = (request.body or "").encode()
    headers = {
        "Host": parts.netloc,
        "User-Agent": "costlab",
        "Accept": "application/json",
        "X-Api-Key": spec.api_key,
        **request.headers,
    }
    if request.body is not None:
        headers["Content-Length"] = str(len(body))
    lines = [f"{request.method} {parts.path}{request.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _samples(names: list[str], sent_names: list[str], planned: list[float], outcomes: list[tuple]) -> np.ndarray:
    number = {name: i for i, name in enumerate(names)}
    rows = [(planned[i], latency, status, number[sent_names[i]], size) for i, latency, status, size in sorted(outcomes)]
    return np.array(rows, dtype=SAMPLE)
