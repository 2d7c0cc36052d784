"""Runs the user's k6 on the same traffic and maps its samples to a LoadResult.

k6 is never bundled (AGPL): it is $K6, or found on PATH, or, only when asked for, its official image under Docker.
What runs is the scenario beside the traffic file (loadtests/browse.js for loadtests/traffic/browse.json), one
process with GOMAXPROCS=1, executor constant-arrival-rate, so arrivals are uniform. Latency counts from the planned
send time (k6_samples.py says how). A slot that finds no free virtual user is dropped at once, where the built-in
generator would let it wait; LoadSpec says how many there are and what of a stall is cut. k6 takes about 1.5 ms of
CPU a request at 100/s, three times the built-in generator.

Probes. A running k6 cannot be held up, so settle and measured stretch are two scenarios of one process, with a
pause of 1.5 s between them: 0.5 s for the last answers of the settle stretch, the rest for `on_measure_start`. Without
a settle stretch the measured one starts 1 s after k6 is ready, and `on_measure_start` is called as k6 is started. If
the callback takes longer, LoadResult.overlap_seconds says by how much, and counts read in it are short by that.
`on_measure_end` follows k6's exit, which comes about 0.1 s after the last answer. Only if the lab itself is killed
(SIGKILL) does k6 run on, to its planned end. What progress counts is read from the samples, written each second.

With K6_PROMETHEUS_RW_SERVER_URL, k6's own variable, it also writes its metrics to that Prometheus while it runs.
"""

import json
import math
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from costlab.lab.load.hooks import Hooks
from costlab.lab.load.k6_progress import K6Progress
from costlab.lab.load.k6_samples import Tally, read_samples
from costlab.lab.load.processes import end
from costlab.lab.load.spec import LoadError, LoadResult, LoadSpec, LoadStopped
from costlab.lab.load.traffic import Traffic, planned_count

DEFAULT_IMAGE = "grafana/k6:1.7.1"  # as in docker-compose.yml
GAP = 1.5
_DRAIN = 0.5  # seconds of the gap, as in loadtests/lib/scenario.js
_SHORTEST = 1.0  # seconds: k6 refuses shorter scenarios
_REMOTE_WRITE = "K6_PROMETHEUS_RW_"
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


def scenario_of(traffic: Path) -> Path:
    """The k6 script that belongs to a traffic file: DIR/NAME.js for DIR/traffic/NAME.json."""
    whole = traffic.resolve()
    return whole.parent.parent / f"{whole.stem}.js"


def in_docker() -> list[str]:
    """The command that is k6 in a container of its official image ($K6_IMAGE replaces it); empty without docker."""
    docker = shutil.which("docker")
    return [docker, "run", "--rm", os.environ.get("K6_IMAGE") or DEFAULT_IMAGE] if docker else []


def version(k6: list[str]) -> str:
    """What k6 says of itself: k6 v1.8.1."""
    answer = subprocess.run([*k6, "version"], capture_output=True, text=True, check=False)
    return " ".join(answer.stdout.split()[:2]) or "k6 of unknown version"


def run_k6(spec: LoadSpec, traffic: Traffic, hooks: Hooks) -> LoadResult:
    """Run one stretch of load with the k6 found on this machine."""
    binary = find_k6()
    if binary is None:
        raise LoadError("load: no k6 here, neither as $K6 nor on PATH; install it or use the open-model generator")
    with tempfile.TemporaryDirectory(prefix="costlab-k6-") as folder:
        command = [binary, *_arguments(spec, Path(folder))]
        environment = {**os.environ, **_environment(spec, Path(folder))}
        with _started(command, environment) as process:
            run = _Run(spec, traffic, hooks, process, Path(folder), lambda: process.pid)
            return run.result(version([binary]))


def run_k6_in_docker(spec: LoadSpec, traffic: Traffic, hooks: Hooks) -> LoadResult:
    """Run one stretch of load with k6's official image, on the host's network."""
    if not (k6 := in_docker()):
        raise LoadError("load: generator k6-docker needs the docker command, which is not on PATH")
    docker, image = k6[0], k6[-1]
    name = f"costlab-k6-{uuid.uuid4().hex[:12]}"
    named = version(k6)
    scripts = scenario_of(spec.traffic).parent
    with tempfile.TemporaryDirectory(prefix="costlab-k6-") as folder:
        command = [docker, "run", "--rm", "--name", name, "--network", "host", "--user", f"{os.getuid()}:{os.getgid()}"]
        command += ["-v", f"{scripts}:{scripts}:ro", "-v", f"{folder}:{folder}"]
        for key, value in _environment(spec, Path(folder)).items():
            command += ["-e", f"{key}={value}"]
        try:
            with _started([*command, image, *_arguments(spec, Path(folder))], dict(os.environ)) as process:
                run = _Run(spec, traffic, hooks, process, Path(folder), lambda: _container_pid(docker, name))
                return run.result(named)
        finally:
            subprocess.run([docker, "rm", "--force", name], capture_output=True, check=False)


@dataclass
class _Run:
    """One k6 process from its start to its result."""

    spec: LoadSpec
    traffic: Traffic
    hooks: Hooks
    process: subprocess.Popen
    folder: Path
    find_pid: Callable[[], int | None]
    probed_at: float = math.nan
    cpu_before: float = 0.0

    def result(self, version: str) -> LoadResult:
        """Follow k6 to its end and read what it measured."""
        spec = self.spec
        progress = K6Progress(self.process.stderr, self.find_pid)
        if spec.settle_seconds == 0:
            self._probe()
        self._follow(progress)
        self.hooks.measure_ended()
        if self.process.returncode != 0 or "measure" not in progress.starts:
            raise LoadError(f"load: k6 ended with code {self.process.returncode}: {progress.last_words()}")
        planned = planned_count(spec.rate, spec.seconds)
        csv = self.folder / "samples.csv"
        started_at, samples = read_samples(
            csv, self.traffic.names, spec.rate, planned, earliest=progress.starts["measure"]
        )
        return LoadResult(
            generator=version,
            planned=planned,
            sent=len(samples),
            dropped=planned - len(samples),
            samples=samples,
            names=self.traffic.names,
            started_at=started_at,
            cpu_seconds=progress.cpu_seconds - self.cpu_before,
            overlap_seconds=max(0.0, self.probed_at - started_at),
        )

    def _follow(self, progress: K6Progress) -> None:
        settle, seconds = self.spec.settle_seconds, self.spec.seconds
        next_report, tally = 0.0, Tally(self.folder / "samples.csv")
        while self.process.poll() is None:
            if self.hooks.stop.wait(0.05):
                raise LoadStopped("load: stopped before its end")
            progress.refresh()
            self._probe_between_the_scenarios(progress)
            self._note_cpu(progress)
            done = progress.share_done(settle, seconds)
            if done and time.monotonic() >= next_report:
                next_report = time.monotonic() + 1.0
                self.hooks.progressed(done[1], {"phase": done[0], **tally.of(done[0])})
        progress.refresh()

    def _probe_between_the_scenarios(self, progress: K6Progress) -> None:
        settled = progress.starts.get("settle", math.inf) + max(_SHORTEST, self.spec.settle_seconds)
        if math.isnan(self.probed_at) and time.time() >= settled + _DRAIN:
            self._probe()

    def _probe(self) -> None:
        self.hooks.measure_started()
        self.probed_at = time.time()

    def _note_cpu(self, progress: K6Progress) -> None:
        """What k6 has used before the measured stretch: until then it makes virtual users and sends what settles."""
        if "measure" not in progress.starts:
            self.cpu_before = progress.cpu_seconds


def _arguments(spec: LoadSpec, folder: Path) -> list[str]:
    script = scenario_of(spec.traffic)
    if not script.is_file():
        raise LoadError(f"load: {spec.traffic} has no k6 scenario {script}; write one like browse.js or use open-model")
    outputs = ["--out", f"csv={folder / 'samples.csv'}"]
    if prometheus := os.environ.get(f"{_REMOTE_WRITE}SERVER_URL"):
        _require_prometheus(prometheus)
        outputs += ["--out", "experimental-prometheus-rw"]
    return ["run", *_FLAGS, *outputs, str(script)]


def _require_prometheus(url: str) -> None:
    """k6 itself would run to its end, and say at every attempt that nobody took its metrics."""
    message = f"load: {_REMOTE_WRITE}SERVER_URL is {url!r}"
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LoadError(f"{message}; allowed: http://HOST:PORT/api/v1/write, or unset it")
        socket.create_connection((parts.hostname, port), timeout=3).close()
    except (OSError, ValueError) as error:
        raise LoadError(f"{message}: {error}. Start that Prometheus, or unset it") from error


def _environment(spec: LoadSpec, folder: Path) -> dict[str, str]:
    virtual_users = {"VUS": str(spec.connections)} if spec.connections else {}
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
        "TIMEOUT": _duration(spec.timeout),
        f"{_REMOTE_WRITE}TREND_STATS": "p(50),p(95),p(99)",
        f"{_REMOTE_WRITE}STALE_MARKERS": "true",
        **{name: value for name, value in os.environ.items() if name.startswith(_REMOTE_WRITE)},
        **virtual_users,
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


def _container_pid(docker: str, name: str) -> int | None:
    """The host's pid of the container's process; None where it cannot be seen (not Linux, or not yet started)."""
    command = [docker, "inspect", "--format", "{{json .State.Pid}}", name]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    pid = json.loads(answer.stdout) if answer.returncode == 0 else 0
    return pid if pid and psutil.pid_exists(pid) else None
