"""A real Prometheus at a running stack, with the rules of the repository and the switches of docker-compose.yml."""

import contextlib
import json
import math
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from costlab.stack import Stack, replicas
from tests.conditions import eventually
from tests.structure.source import ROOT
from tests.structure.test_registries import COMPOSE

PROMETHEUS = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(not PROMETHEUS, reason="needs prometheus (Debian package prometheus)")
RULES = ROOT / "infra" / "prometheus" / "rules"
SWITCHES = [word for word in COMPOSE["services"]["prometheus"]["command"] if "enable" in word]


class Prometheus:
    """The HTTP interface of a Prometheus that was started just now."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._started = time.time()

    def values(self, query: str) -> list[float]:
        """Every number the query has had since the start."""
        asked = {"query": query, "start": self._started, "end": time.time(), "step": "1s"}
        series = self._get("query_range", asked)["result"]
        return [float(value) for one in series for _, value in one["values"] if math.isfinite(float(value))]

    def vector(self, query: str, at: float) -> dict[str, float]:
        """What the query says of each service at a moment."""
        result = self._get("query", {"query": query, "time": at})["result"]
        return {one["metric"].get("service", ""): float(one["value"][1]) for one in result}

    def targets(self) -> list[dict]:
        """Whom it scrapes."""
        return self._get("targets", {})["activeTargets"]

    def ready(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
            return answer.status == 200
        return False

    def exemplars(self, query: str) -> list[dict]:
        """What query_exemplars returns of it since the start: labels, value, timestamp of each."""
        asked = {"query": query, "start": self._started, "end": time.time()}
        return [one for series in self._get("query_exemplars", asked) for one in series["exemplars"]]

    def alerts(self, state: str = "firing") -> set[tuple[str, str]]:
        """Those in that state now: the name, and the objective it is about."""
        alerts = self._get("alerts", {})["alerts"]
        return {(one["labels"]["alertname"], one["labels"].get("slo", "")) for one in alerts if one["state"] == state}

    def _get(self, path: str, given: dict) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(given)}", timeout=10) as answer:
            return json.load(answer)["data"]


@contextmanager
def started(stack: Stack, folder: Path, rules: Path = RULES, lookback: str = "5m") -> Iterator[Prometheus]:
    """Asking every instance of ``stack`` every second, until the end of the block; ``folder`` holds its data."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(_configuration(stack, rules)))
    command = [
        PROMETHEUS,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--query.lookback-delta={lookback}",
        "--log.level=warn",
        *SWITCHES,
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            running = Prometheus(f"http://127.0.0.1:{port}")
            eventually(running.ready, within=30)
            yield running
        finally:
            process.terminate()


def _configuration(stack: Stack, rules: Path) -> dict:
    """That of Compose, but for the addresses and the pace."""
    targets = [
        {"targets": [url.removeprefix("http://")], "labels": {"service": replicas.service_of(name)}}
        for name, url in stack.internal_urls().items()
    ]
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [f"{rules}/*.yml"],
        "scrape_configs": [{"job_name": "costlab", "static_configs": targets}],
    }
