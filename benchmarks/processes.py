"""What benchmarks start and how they ask it: a process until the end of a ``with``, one kept connection."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from costlab.failure import Failure
from costlab.stack.control import Control

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 20.0


class CannotRun(Failure):
    """Something this benchmark needs is not on this machine."""

    exit_code = 3


class BenchmarkError(Failure):
    """A process did not start, or an answer was not the one expected."""


class Client:
    """One kept connection and as little work per request as possible, so that what is measured shows."""

    def __init__(self, name: str, port: int) -> None:
        self._name = name
        self._link = socket.create_connection(("127.0.0.1", port))
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, target: str) -> float:
        """Seconds from the first byte sent to the last one read; BenchmarkError unless the answer is a 200."""
        message = (
            f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: application/json\r\n"
            "X-Api-Key: demo\r\n\r\n"
        ).encode()
        started = time.perf_counter()
        self._link.sendall(message)
        answer = self._link.recv(65536)
        while not complete(answer):
            more = self._link.recv(65536)
            if not more:
                raise BenchmarkError(f"{self._name} closed the connection in the middle of an answer")
            answer += more
        taken = time.perf_counter() - started
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise BenchmarkError(f"{self._name} answered {answer[:300].decode(errors='replace')!r}")
        return taken


def complete(answer: bytes) -> bool:
    """Whether that is a whole HTTP answer."""
    head, end, body = answer.partition(b"\r\n\r\n")
    lower = head.lower()
    if not end:
        return False
    _, _, length = lower.partition(b"content-length: ")
    if not length:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(length.partition(b"\r")[0])


@contextmanager
def gateway(
    name: str, upstream: str, redis_url: str, folder: Path, flags: dict[str, object], environment: dict[str, str]
) -> Iterator[tuple[int, psutil.Process]]:
    """A gateway of one process in front of ``upstream`` with ``flags`` set: its port and its process."""
    port, internal = free_port(), free_port()
    token, log = folder / "token", folder / f"{port}.log"
    token.write_text("bench")
    settings = {
        "COSTLAB_BIND": f"127.0.0.1:{port}",
        "COSTLAB_INTERNAL_BIND": f"127.0.0.1:{internal}",
        "COSTLAB_TOKEN_FILE": str(token),
        "COSTLAB_REDIS_URL": redis_url,
        "COSTLAB_USERS_URL": upstream,
        "COSTLAB_ORDERS_URL": upstream,
        "COSTLAB_CACHE_PROXY_URL": upstream,
        "COSTLAB_PROCESSES": "1",
        "COSTLAB_THREADS": "8",
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "infra/gunicorn.conf.py", "gateway.app:create_app()"]
    with process(command, settings | environment, log) as started:
        wait(lambda: read(f"http://127.0.0.1:{port}/api/users/1"), name, started, log)
        Control({"gateway": f"http://127.0.0.1:{internal}"}, "bench").set_flags(flags)
        yield port, started


@contextmanager
def process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    """``command``, until the end of the block; what it says goes to ``log``."""
    with log.open("wb") as output:
        started = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=output, stderr=output)
    try:
        yield psutil.Process(started.pid)
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(timeout=5)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def wait(ready: Callable[[], object], name: str, started: psutil.Process, log: Path) -> None:
    """Return once ``ready`` raises no OSError; BenchmarkError when ``started`` is dead or START_SECONDS are over."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ready()
            return
        except OSError as error:
            dead = not started.is_running() or started.status() == psutil.STATUS_ZOMBIE
            if dead or time.monotonic() > deadline:
                said = log.read_text(errors="replace").strip().splitlines()
                raise BenchmarkError(f"{name} did not start: {said[-1] if said else error}") from error
            time.sleep(0.05)


def read(url: str) -> bytes:
    """What is answered there."""
    with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310 - loopback
        return answer.read()


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def cpu_seconds(started: psutil.Process | None) -> float:
    """What that process and its children have used; of none, nothing."""
    if started is None:
        return 0.0
    return sum(_own_cpu_seconds(one) for one in [started, *started.children(recursive=True)])


def _own_cpu_seconds(one: psutil.Process) -> float:
    """Of all its threads. The scheduler counts nanoseconds; where it does not tell, ticks of 10 ms must do."""
    tasks = Path(f"/proc/{one.pid}/task")
    try:
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9
    except OSError:
        times = one.cpu_times()
        return times.user + times.system
