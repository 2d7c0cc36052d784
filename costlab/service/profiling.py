"""Profiling a running service: where its time or memory goes, readable at ``/profile`` of the internal port.

``cprofile``     every call of every request is timed, in the thread that works on it; the sums over all requests.
``tracemalloc``  every allocation is noted with its line; the lines that hold most.
``py-spy``       another program looks at the stacks of this process 100 times a second, for ROUND_SECONDS at a time.

Example: GET /users/7 took users 0.47 ms of CPU, 1.6 under cprofile, 1.2 under tracemalloc and 0.6 while py-spy looked,
minutes apart on one machine. Functions that are called often look dearer under cprofile than they are.

Trade-off: exact counts (cprofile) and exact sizes (tracemalloc), dear for every request; or samples (py-spy), which
miss what is rare. Use instead: traces, to know which service; a metric, to know it every day.

A profile is one process's own, begins when the flag is set and is gone when it is set to something else. Off costs one
dict look-up per request. From Python 3.12 on cProfile cannot tell threads apart, so there ``sys.setprofile`` does the
same, a few times dearer. Units: seconds, bytes, samples. Source: Python's manual, "profile"; py-spy.
"""

import cProfile
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from costlab.service import logs, metrics
from costlab.service.flags import BadFlagValue, Flags

FLAG = "profiling"
TOP = 30
ROUND_SECONDS = 2
GET_PY_SPY = "py-spy is not installed where the services run: pip install py-spy, then set it again"

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

# What one function took: calls, seconds in it alone, seconds with all it called.
Times = dict[str, tuple[int, float, float]]


def refuse(changes: Mapping[str, object]) -> None:
    """BadFlagValue when ``changes`` ask for a profiler that is not there."""
    if str(changes.get(FLAG)).strip() == "py-spy" and _py_spy() is None:
        raise BadFlagValue(f"{FLAG} cannot be 'py-spy': {GET_PY_SPY}")


class Profiling:
    """The profiler that the flag asks for, around ``served``; requests to the internal port are not profiled."""

    def __init__(self, served: WSGIApplication, flags: Flags, internal_port: int) -> None:
        self._served = served
        self._internal_port = str(internal_port)
        self._flags = flags
        self._mode = "off"
        self._calls = CallProfile()
        self._sampler: PySpy | None = None
        flags.on_change(self._follow)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self._flags[FLAG] != "cprofile" or environ["SERVER_PORT"] == self._internal_port:
            return self._served(environ, start_response)
        metrics.REQUESTS_PROFILED.inc()
        return self._calls.run(self._served, environ, start_response)

    def document(self) -> dict[str, Any]:
        """What is known so far, the dearest first."""
        about: dict[str, Any] = {"profiling": self._mode, "process": os.getpid()}
        if self._mode == "cprofile":
            return about | self._calls.document()
        if self._mode == "tracemalloc" and tracemalloc.is_tracing():
            return about | _allocations()
        if self._sampler is not None:
            return about | self._sampler.document()
        return about

    def stop(self) -> None:
        """End whatever runs."""
        self._switch("off")

    def _follow(self) -> None:
        if self._flags[FLAG] != self._mode:
            self._switch(self._flags[FLAG])

    def _switch(self, mode: str) -> None:
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler = None
        if tracemalloc.is_tracing():
            tracemalloc.stop()
        self._calls.clear()
        if mode == "tracemalloc":
            tracemalloc.start()
        if mode == "py-spy":
            self._sampler = PySpy()
        self._mode = mode


class CallProfile:
    """Times of every call, added up over the threads that ran under it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = 0
        self._times: Times = {}

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``function`` and add what it called, and how long that took."""
        profiler = cProfile.Profile() if sys.version_info < (3, 12) else CallTimer()
        profiler.enable()
        try:
            return function(*arguments)
        finally:
            profiler.disable()
            self._add(profiler.getstats() if isinstance(profiler, CallTimer) else _of_cprofile(profiler))

    def clear(self) -> None:
        """Begin anew."""
        with self._lock:
            self._requests = 0
            self._times = {}

    def document(self) -> dict[str, Any]:
        """Requests and the functions that took most time themselves."""
        with self._lock:
            dearest = sorted(self._times.items(), key=lambda item: -item[1][1])[:TOP]
            rows = [
                {"function": name, "calls": calls, "own_seconds": round(own, 6), "total_seconds": round(total, 6)}
                for name, (calls, own, total) in dearest
            ]
            return {"requests": self._requests, "functions": rows}

    def _add(self, times: Times) -> None:
        with self._lock:
            self._requests += 1
            for name, (calls, own, total) in times.items():
                before = self._times.get(name, (0, 0.0, 0.0))
                self._times[name] = (before[0] + calls, before[1] + own, before[2] + total)


class CallTimer:
    """What cProfile measures, for one thread, by ``sys.setprofile``."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._stack: list[list[Any]] = []  # name, when it began, seconds in what it called
        self._times: Times = {}

    def enable(self) -> None:
        """Time every call of this thread from here on."""
        sys.setprofile(self._event)

    def disable(self) -> None:
        """Stop; what has not returned is counted up to now."""
        sys.setprofile(None)
        while self._stack:
            self._leave()

    def getstats(self) -> Times:
        """What was measured."""
        return self._times

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self._stack.append([_name(frame.f_code), self._clock(), 0.0])
        elif event == "c_call":
            name = getattr(argument, "__qualname__", type(argument).__name__)
            self._stack.append([f"built-in {name}", self._clock(), 0.0])
        elif self._stack:  # a return from where it was switched on has no call
            self._leave()

    def _leave(self) -> None:
        name, began, within = self._stack.pop()
        took = self._clock() - began
        calls, own, total = self._times.get(name, (0, 0.0, 0.0))
        # A function that called itself is counted once, in its outermost call.
        inner = any(other[0] == name for other in self._stack)
        self._times[name] = (calls + 1, own + took - within, total if inner else total + took)
        if self._stack:
            self._stack[-1][2] += took


class PySpy:
    """Rounds of ``py-spy record`` on this process, added up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: Counter[str] = Counter()
        self._rounds = 0
        self._failure = ""
        self._stopped = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="py-spy", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the round that runs; returns when py-spy has gone."""
        self._stopped.set()
        with self._lock:
            if self._child is not None:
                self._child.terminate()
        self._thread.join(timeout=ROUND_SECONDS)

    def document(self) -> dict[str, Any]:
        """Samples by the line they were taken in, or why there are none."""
        with self._lock:
            top = [{"line": line, "samples": count} for line, count in self._samples.most_common(TOP)]
            said = {"rounds": self._rounds, "samples": self._samples.total(), "lines": top}
            return said | ({"error": self._failure} if self._failure else {})

    def _run(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            while not self._stopped.is_set():
                if not self._round(Path(folder) / "stacks"):
                    self._stopped.wait(ROUND_SECONDS)

    def _round(self, output: Path) -> bool:
        program = _py_spy()
        if program is None:
            self._failure = GET_PY_SPY
            return False
        command = [program, "record", "--pid", str(os.getpid()), "--duration", str(ROUND_SECONDS)]
        command += ["--format", "raw", "--nonblocking", "--output", str(output)]
        with self._lock:
            if self._stopped.is_set():
                return False
            self._child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        _, said = self._child.communicate()
        if self._child.returncode != 0:
            if not self._stopped.is_set():
                self._failure = said.decode(errors="replace").strip() or f"py-spy ended with {self._child.returncode}"
                logs.get("profiling").warning("profiling.py_spy", extra={"reason": self._failure})
            return False
        with self._lock:
            self._rounds += 1
            self._failure = ""
            self._samples += leaves(output.read_text())
        return True


def leaves(stacks: str) -> Counter[str]:
    """Samples by innermost line, of py-spy's raw format: ``outer;inner;innermost 12`` in each line."""
    samples: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        samples[stack.rpartition(";")[2]] += int(count)
    return samples


def _of_cprofile(profiler: cProfile.Profile) -> Times:
    times: Times = {}
    for entry in profiler.getstats():
        # What is written in C has a description for a name, of some with an address in it.
        name = _name(entry.code) if isinstance(entry.code, CodeType) else _ADDRESS.sub("", entry.code.strip("<>"))
        calls, own, total = times.get(name, (0, 0.0, 0.0))
        times[name] = (calls + entry.callcount, own + entry.inlinetime, total + entry.totaltime)
    return times


def _name(code: CodeType) -> str:
    return f"{code.co_filename}:{code.co_firstlineno} {code.co_name}"


def _allocations() -> dict[str, Any]:
    statistics = tracemalloc.take_snapshot().statistics("lineno")[:TOP]
    held, peak = tracemalloc.get_traced_memory()
    rows = [
        {"line": str(row.traceback), "bytes": row.size, "blocks": row.count} for row in statistics
    ]  # fmt: skip
    return {"bytes": held, "peak_bytes": peak, "lines": rows}


def _py_spy() -> str | None:
    """The program, from beside this interpreter or from the PATH."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")
