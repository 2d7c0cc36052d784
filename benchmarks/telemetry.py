"""What telemetry costs: all of it on, at 1/16 of the requests traced, against all of it off: ``make bench-telemetry``.

Two stacks run side by side; one connection asks each in turn for users, products and histories, in bursts whose order
is drawn anew each time: whatever else the machine does meets both alike. Of two like stacks the one that was started
first costs up to 6 % more, for as long as they run; so all is done twice, with the other one started first, and a round
is the mean of two. A figure is the CPU of all five services over
the requests of a round, read from the scheduler's own count. Spans leave as they do, so a round pays for some of the
one before and the next one for its last; the ratio is Hodges-Lehmann's over rounds with a 95 % bootstrap interval.

    on     metrics, exemplars, spans to a sink that answers, logs from info on; every service is scraped (OpenMetrics)
           once per SCRAPED_EVERY requests: Prometheus' five seconds at 100 requests a second
    off    tracing.sample=0 and nobody to send to, logs from error on, counters and histograms that count nothing
           (benchmarks/telemetry_off), nobody who scrapes. Left: request ids, trace context in headers, gauges

No service writes a line per request at either level, so logs are next to nothing in the difference.

Exit codes: 0 the target is not exceeded by the whole interval, 1 it is, 3 cannot run here.
"""

import argparse
import json
import math
import os
import random
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit

import psutil

from benchmarks import saving
from benchmarks.flags import verdict
from benchmarks.processes import ROOT, BenchmarkError, Client, cpu_seconds, free_port, process, read
from costlab.failure import Failure
from costlab.lab.environment import describe
from costlab.lab.statistics import hodges_lehmann, interval
from costlab.stack import Stack, open_stack
from costlab.stack.control import Control
from costlab.stack.ports import give_back, keep_base

SEED = 22
TARGET = 1.15
SAMPLE = 1 / 16
SCRAPED_EVERY = 500
BURST = 20
WARM_UP = 300
USERS, PRODUCTS = 10_000, 200_000
Round = dict[str, float]  # CPU microseconds per request, by "on" and "off"


@dataclass
class Contender:
    """One of the two stacks, under the one connection that asks it."""

    stack: Stack
    client: Client
    scraped: bool
    _asked: int = 0

    def ask(self, paths: Sequence[str]) -> None:
        """One request after the other, and a scrape where it is due."""
        for path in paths:
            self.client.get(path)
            self._asked += 1
            if self.scraped and self._asked % SCRAPED_EVERY == 0:
                _scrape(self.stack)

    def cpu_seconds(self) -> float:
        """What all services have used so far."""
        return sum(cpu_seconds(psutil.Process(one.pid)) for one in self.stack.status() if one.internal_port)


def main() -> int:
    """Run it and print what came out."""
    options = _options()
    try:
        with ExitStack() as cleanup:
            result = run(options.rounds, options.requests, cleanup)
    except Failure as failure:
        print(f"bench-telemetry: {failure}", file=sys.stderr)
        return failure.exit_code
    print(json.dumps(result, indent=1) if options.json else table(result))
    if options.save:
        print(f"saved {saving.save(result, 'telemetry')}", file=sys.stderr)
    return 1 if result["ratio"]["verdict"] == "exceeded" else 0


def run(rounds: int, requests: int, cleanup: ExitStack) -> dict:
    """Start what is measured, measure it, and say what came out."""
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="costlab-bench-")))
    sink = free_port()
    cleanup.enter_context(process([sys.executable, "-m", "benchmarks.otlp_sink", str(sink)], {}, folder / "sink.log"))
    on = {"COSTLAB_OTLP_ENDPOINT": f"http://127.0.0.1:{sink}"}
    off = {"COSTLAB_LOG_LEVEL": "error", "PYTHONPATH": str(ROOT / "benchmarks" / "telemetry_off")}
    kinds = {"on": (on, SAMPLE), "off": (off, 0)}
    starts = []
    for number, names in enumerate((("on", "off"), ("off", "on")), start=1):
        with ExitStack() as stacks:
            started = {
                name: stacks.enter_context(_contender(name, folder / str(number), *kinds[name])) for name in names
            }
            starts.append(list(_rounds(started, rounds, requests)))
            _refuse_wrong_metrics(started)
            environment = describe(started["on"].stack).model_dump(mode="json")
    exported = json.loads(read(f"http://127.0.0.1:{sink}/"))
    return result(starts, requests, exported) | {"environment": environment}


def _refuse_wrong_metrics(contenders: dict[str, Contender]) -> None:
    for name, contender in contenders.items():
        if _counts(contender.stack) != (name == "on"):
            raise BenchmarkError(f"metrics of the stack {name!r} are not {name}: nothing can be said of what they cost")


@contextmanager
def _contender(name: str, folder: Path, environment: dict[str, str], sample: float) -> Iterator[Contender]:
    base = keep_base()
    with mock.patch.dict(os.environ, environment):
        stack = open_stack("local", folder / name, base)
        stack.up(lambda line: print(f"{name}: {line}", file=sys.stderr))
    try:
        Control(stack.internal_urls(), stack.token()).set_flags({"tracing.sample": sample})
        port = urlsplit(stack.base_url()).port or 80
        yield Contender(stack, Client(f"gateway, {name}", port), scraped=name == "on")
    finally:
        stack.down(volumes=True)
        give_back(base)


def _rounds(contenders: dict[str, Contender], rounds: int, requests: int) -> Iterator[Round]:
    order = random.Random(SEED)  # noqa: S311 - an order of bursts and of requests, not a secret
    for contender in contenders.values():
        contender.ask([_path(order) for _ in range(WARM_UP)])
    for number in range(rounds):
        print(f"  round {number + 1} of {rounds}", file=sys.stderr)
        before = {name: contender.cpu_seconds() for name, contender in contenders.items()}
        for first in range(0, requests, BURST):
            paths = [_path(order) for _ in range(min(BURST, requests - first))]  # both are asked the same
            for name in order.sample(list(contenders), len(contenders)):
                contenders[name].ask(paths)
        yield {name: (one.cpu_seconds() - before[name]) / requests * 1e6 for name, one in contenders.items()}


def _path(order: random.Random) -> str:
    user, product = order.randint(1, USERS), order.randint(1, PRODUCTS)
    return order.choice([f"/api/users/{user}", f"/api/users/{user}/orders", f"/api/products/{product}"])


def _scrape(stack: Stack) -> None:
    for url in stack.internal_urls().values():
        asked = urllib.request.Request(f"{url}/metrics", headers={"Accept": "application/openmetrics-text"})  # noqa: S310
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - loopback
            answer.read()


def _counts(stack: Stack) -> bool:
    """Whether the gateway counts its requests."""
    samples = Control(stack.internal_urls(), stack.token()).metrics("gateway")
    return any(name == "http_server_request_duration_seconds_count" and value for name, _, value in samples)


def result(starts: Sequence[Sequence[Round]], requests: int, exported: dict) -> dict:
    """What the rounds say, held against the target. Of each of ``starts`` the n-th is part of round n."""
    rounds = [
        {name: sum(one[name] for one in same) / len(same) for name in same[0]} for same in zip(*starts, strict=True)
    ]
    logs = [math.log(one["on"] / one["off"]) for one in rounds]
    low, high = map(math.exp, interval(logs, SEED))
    ratio = {"estimate": math.exp(hodges_lehmann(logs)), "low": low, "high": high}
    return {
        "seed": SEED,
        "target": TARGET,
        "sample": SAMPLE,
        "requests_per_round": requests,
        "ratio": ratio | {"verdict": verdict(ratio, TARGET)},
        "cpu_us": {name: hodges_lehmann([one[name] for one in rounds]) for name in ("on", "off")},
        "exported": exported,
        "rounds": rounds,
        "starts": [list(one) for one in starts],
    }


def table(result: dict) -> str:
    """The result for a person."""
    ratio, cpu, exported = result["ratio"], result["cpu_us"], result["exported"]
    said = {"kept": "kept", "exceeded": "EXCEEDED", "open": "not settled"}[ratio["verdict"]]
    return "\n".join(
        [
            f"CPU of a request over all services, µs: {cpu['on']:.0f} with telemetry, {cpu['off']:.0f} without",
            f"with / without: {ratio['estimate']:.3f} (95 %: {ratio['low']:.3f} to {ratio['high']:.3f}), "
            f"target ≤ {result['target']:g} {said}",
            f"{len(result['rounds'])} rounds of {len(result['starts'])} x {result['requests_per_round']} requests, "
            f"one in {1 / result['sample']:.0f} traced; {exported['exports']} exports, {exported['bytes'] // 1024} KiB",
        ]
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-telemetry", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=500, help="of each stack, per round")
    parser.add_argument("--json", action="store_true", help="print every figure, also of each round")
    parser.add_argument("--save", action="store_true", help="keep it in benchmarks/telemetry/, for documents to cite")
    options = parser.parse_args()
    if options.rounds < 2 or options.requests < 10:
        parser.error("it takes at least 2 rounds of 10 requests")
    return options


if __name__ == "__main__":
    sys.exit(main())
