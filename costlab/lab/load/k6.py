"""Runs the user's k6 on the same traffic and maps its samples to a LoadResult.

k6 is never bundled (AGPL): it is $K6, or found on PATH, or, only when asked for, its official image under Docker.
What runs is the scenario beside the traffic file (loadtests/browse.js for loadtests/traffic/browse.json), one
process with GOMAXPROCS=1, executor constant-arrival-rate, so arrivals are uniform.

Latency from the planned send time. k6 times a request from the moment a virtual user sends it. Its CSV output,
though, gives each request's end to the nanosecond, and the executor fires slot i at start + i * period whatever
happened before, so latency here is end - (start + i * period). Two things k6 does not tell exactly:
- `start` is known to the millisecond (exec.scenario.startTime, cut off). It is taken as late within that
  millisecond as the earliest request allows, so the least delay k6 itself adds (about 0.1 ms) is not charged.
- A slot that finds no free virtual user (128 by default) is dropped at once, where the built-in generator would let
  it wait, and k6 does not count it as an iteration. Dropped slots are put back among the fired ones by their time.

Probes. A running k6 cannot be held up, so settle and measured stretch are two scenarios of one process, with a
pause of GAP seconds between them: half for the last answers of the settle stretch, half for `on_measure_start`.
If the callback takes longer, LoadResult.overlap_seconds says by how much. `on_measure_end` follows k6's exit, which
comes about 0.1 s after the last answer. Only if the lab itself is killed (SIGKILL) does k6 run on, to its planned end.
"""

import csv
import json
import math
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from costlab.lab.load.hooks import Hooks
from costlab.lab.load.processes import end
from costlab.lab.load.spec import SAMPLE, LoadError, LoadResult, LoadSpec, LoadStopped
from costlab.lab.load.traffic import Traffic, planned_count

GAP = 1.0
_FLAGS = ["--quiet", "--no-color", "--no-usage-report", "--no-thresholds", "--summary-mode=disabled"]
_FLAGS += ["--address=", "--log-format=raw", "--log-output=stderr"]


def find_k6() -> str | None:
    """Path of the k6 to use, or None; LoadError if $K6 names something that cannot be run."""
    named = os.environ.get("K6")
    if not named:
        return shutil.which("k6")
    found = shutil.which(named)
    if found is None:
        raise LoadError(f"load: K6={named} is not an executable; unset it or name the k6 binary")
    return found


def scenario_of(spec: LoadSpec) -> Path:
    """The k6 script that belongs to a traffic file: DIR/NAME.js for DIR/traffic/NAME.json."""
    traffic = spec.traffic.resolve()
    return traffic.parent.parent / f"{traffic.stem}.js"


def run_k6(spec: LoadSpec, traffic: Traffic, hooks: Hooks) -> LoadResult:
    """Run one stretch of load with the k6 found on this machine."""
    binary = find_k6()
    if binary is None:
        raise LoadError(
            "load: no k6 here (neither $K6 nor on PATH); install it or use the built-in open-model generator"
        )
    with tempfile.TemporaryDirectory(prefix="costlab-k6-") as folder:
        command = [binary, *_arguments(spec, Path(folder))]
        environment = {**os.environ, **_environment(spec, Path(folder))}
        version = subprocess.run([binary, "version"], capture_output=True, text=True, check=False).stdout
        with _started(command, environment) as process:
            return _measure(_Run(spec, traffic, hooks, process, Path(folder), version, lambda: process.pid))


def run_k6_in_docker(spec: LoadSpec, traffic: Traffic, hooks: Hooks) -> LoadResult:
    """Run one stretch of load with k6's official image ($K6_IMAGE replaces it), on the host's network."""
    docker = shutil.which("docker")
    if docker is None:
        raise LoadError("load: generator k6-docker needs the docker command, which is not on PATH")
    image = os.environ.get("K6_IMAGE", "grafana/k6:1.7.1")  # as in docker-compose.yml
    name = f"costlab-k6-{uuid.uuid4().hex[:12]}"
    scripts = scenario_of(spec).parent
    with tempfile.TemporaryDirectory(prefix="costlab-k6-") as folder:
        command = [docker, "run", "--rm", "--name", name, "--network", "host", "--user", f"{os.getuid()}:{os.getgid()}"]
        command += ["-v", f"{scripts}:{scripts}:ro", "-v", f"{folder}:{folder}"]
        for key, value in _environment(spec, Path(folder)).items():
            command += ["-e", f"{key}={value}"]
        version = subprocess.run(
            [docker, "run", "--rm", image, "version"], capture_output=True, text=True, check=False
        ).stdout
        try:
            with _started([*command, image, *_arguments(spec, Path(folder))], dict(os.environ)) as process:
                run = _Run(spec, traffic, hooks, process, Path(folder), version, lambda: _container_pid(docker, name))
                return _measure(run)
        finally:
            subprocess.run([docker, "rm", "--force", name], capture_output=True, check=False)


@dataclass(frozen=True)
class _Run:
    spec: LoadSpec
    traffic: Traffic
    hooks: Hooks
    process: subprocess.Popen
    folder: Path
    version: str
    pid: Callable[[], int | None]


def _arguments(spec: LoadSpec, folder: Path) -> list[str]:
    script = scenario_of(spec)
    if not script.is_file():
        raise LoadError(f"load: {spec.traffic} has no k6 scenario {script}; write one like browse.js or use open-model")
    return ["run", *_FLAGS, "--out", f"csv={folder / 'samples.csv'}", str(script)]


def _environment(spec: LoadSpec, folder: Path) -> dict[str, str]:
    return {
        "GOMAXPROCS": "1",
        "GOGC": "400",  # fewer garbage collections: the slowest request of 500 went from 28 to 11 ms
        "HOME": str(folder),  # k6 keeps a configuration file there; the load must not depend on it
        "K6_CSV_TIME_FORMAT": "unix_nano",
        "K6_AUTO_EXTENSION_RESOLUTION": "false",
        "BASE_URL": spec.base_url,
        "API_KEY": spec.api_key,
        "RATE": repr(spec.rate),
        "SETTLE": _duration(spec.settle_seconds),
        "GAP": _duration(GAP),
        "DURATION": _duration(spec.seconds),
        "SEED": str(spec.seed),
        "RUN": uuid.uuid4().hex,
        "TRAFFIC": str(spec.traffic.resolve()),
        "VUS": str(spec.connections),
        "TIMEOUT": _duration(spec.timeout),
    }


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


@contextmanager
def _started(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches the lab alone, which then ends the load in order
    )
    try:
        yield process
    finally:
        end(process)
        process.stderr.close()


def _measure(run: _Run) -> LoadResult:
    spec, hooks = run.spec, run.hooks
    progress = _Progress(run)
    if spec.settle_seconds == 0:
        hooks.measure_started()
        progress.probed()
    while run.process.poll() is None:
        if hooks.stop.wait(0.05):
            raise LoadStopped("load: stopped before its end")
        progress.step()
    hooks.measure_ended()
    if run.process.returncode != 0 or "measure" not in progress.starts:
        raise LoadError(f"load: k6 ended with code {run.process.returncode}: {progress.last_words()}")
    started_at, samples = _samples(run, progress.starts["measure"])
    planned = planned_count(spec.rate, spec.seconds)
    return LoadResult(
        generator=" ".join(run.version.split()[:2]) or "k6 of unknown version",
        planned=planned,
        sent=len(samples),
        dropped=planned - len(samples),
        samples=samples,
        names=run.traffic.names,
        started_at=started_at,
        cpu_seconds=progress.cpu_seconds(),
        overlap_seconds=max(0.0, progress.probed_at - started_at) if spec.settle_seconds else 0.0,
    )


class _Progress:
    """Follows a running k6: its start lines, its CPU, the moment for the probes."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._said: list[str] = []
        self._pid: int | None = None
        self._cpu_before = self._cpu_now = float("nan")
        self._next_report = 0.0
        self.starts: dict[str, float] = {}  # scenario -> unix time, cut to the millisecond
        self.probed_at = float("nan")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def step(self) -> None:
        """Do what is due now."""
        self._take_lines()
        self._read_cpu()
        spec, now = self._run.spec, time.time()
        probe_at = self.starts.get("settle", math.inf) + max(1.0, spec.settle_seconds) + GAP / 2
        if math.isnan(self.probed_at) and now >= probe_at:
            self._run.hooks.measure_started()
            self.probed()
        if self.starts and now >= self._next_report:
            self._next_report = now + 1.0
            self._report(now)

    def probed(self) -> None:
        """The probes before the measured stretch have been read."""
        self.probed_at = time.time()
        self._cpu_before = self._cpu_now

    def cpu_seconds(self) -> float:
        return self._cpu_now - (self._cpu_before if self._run.spec.settle_seconds else 0.0)

    def last_words(self) -> str:
        self._reader.join(timeout=2)
        self._take_lines()
        return " ".join(self._said[-5:]) or "no message"

    def _read(self) -> None:
        for line in self._run.process.stderr:
            self._lines.put(line.strip())

    def _take_lines(self) -> None:
        while not self._lines.empty():
            match self._lines.get().split():
                case ["costlab", scenario, "started", milliseconds]:
                    self.starts[scenario] = int(milliseconds) / 1000
                case words if words:
                    self._said.append(" ".join(words))

    def _read_cpu(self) -> None:
        try:
            self._pid = self._pid or self._run.pid()
            if self._pid:
                times = psutil.Process(self._pid).cpu_times()
                self._cpu_now = times.user + times.system
        except psutil.NoSuchProcess:
            return  # it has just ended; the reading before this one stands

    def _report(self, now: float) -> None:
        spec = self._run.spec
        if "measure" in self.starts:
            phase, elapsed = "measure", spec.settle_seconds + now - self.starts["measure"]
        else:
            phase, elapsed = "settle", min(now - self.starts["settle"], spec.settle_seconds)
        self._run.hooks.progressed(min(1.0, elapsed / (spec.settle_seconds + spec.seconds)), {"phase": phase})


def _samples(run: _Run, earliest: float) -> tuple[float, np.ndarray]:
    """Start of the measured stretch (unix time) and its samples, from k6's CSV file."""
    period = 1000 / round(run.spec.rate * 1000)
    ends, details, left, sizes, drops = _read_csv(run.folder / "samples.csv")
    if not ends:
        return earliest, np.empty(0, dtype=SAMPLE)
    slots = _slots(left, drops)
    start = min(left[i] - slots[i] * period for i in left)
    start = min(max(start, earliest), earliest + 0.001)
    number = {name: i for i, name in enumerate(run.traffic.names)}
    rows = [
        (slots[i] * period, ends[i] - start - slots[i] * period, details[i][1], number[details[i][0]], sizes.get(i, 0))
        for i in sorted(ends)
        if slots[i] < planned_count(run.spec.rate, run.spec.seconds)
    ]
    return start, np.array(rows, dtype=SAMPLE)


def _read_csv(path: Path) -> tuple[dict, dict, dict, dict, list]:
    """Of the measured scenario, by iteration: end, (name, status), send time, bytes; and the times of drops."""
    ends: dict[int, float] = {}
    details: dict[int, tuple[str, int]] = {}
    spent: dict[int, float] = {}
    sizes: dict[int, int] = {}
    drops: list[float] = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            metric = row["metric_name"]
            if row["scenario"] != "measure" or metric not in _WANTED:
                continue
            if metric == "dropped_iterations":
                drops.append(int(row["timestamp"]) / 1e9)
                continue
            i = int(row["metadata"].removeprefix("index="))
            value = float(row["metric_value"])
            if metric == "data_received":
                sizes[i] = sizes.get(i, 0) + int(value)
                continue
            spent[i] = spent.get(i, 0.0) + value / 1000
            if metric == "http_req_duration":
                ends[i] = int(row["timestamp"]) / 1e9
                details[i] = (row["name"], int(row["status"] or 0))
    return ends, details, {i: ends[i] - spent[i] for i in ends}, sizes, drops


# The first three add up to the time between a virtual user's call and the end of the answer.
_WANTED = {"http_req_duration", "http_req_blocked", "http_req_connecting", "data_received", "dropped_iterations"}


def _slots(left: dict[int, float], drops: list[float]) -> dict[int, int]:
    """Slot of each iteration: its number plus the slots dropped before it."""
    waiting = sorted(drops)
    slots: dict[int, int] = {}
    dropped = 0
    for i in sorted(left):
        while dropped < len(waiting) and waiting[dropped] < left[i]:
            dropped += 1
        slots[i] = i + dropped
    return slots


def _container_pid(docker: str, name: str) -> int | None:
    """The host's pid of the container's process; None where it cannot be seen (not Linux, or not yet started)."""
    command = [docker, "inspect", "--format", "{{json .State.Pid}}", name]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    pid = json.loads(answer.stdout) if answer.returncode == 0 else 0
    return pid if pid and psutil.pid_exists(pid) else None
