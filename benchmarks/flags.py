"""What flags cost: a rate limit through Redis, and every mechanism that is switched off: ``make bench-flags``.

**Rate limit.** One connection asks two gateways for the same document in short alternating blocks, one with
``gateway.rate_limit`` off, one with gcra. A round gives the difference of the two medians; beside it a pooled Redis GET
from this process, since that is what the machine asks for one round trip.

**Off.** For each mechanism the request's CPU in the tree as it is, against the same code without the mechanism's check
(benchmarks/folding.py), in one process, in turns. A request is called as gunicorn calls it, so gunicorn's own share is
not in it; where the limit is on a request through the gateway, the difference is held against the CPU the gateway's
process spends on one in the first part. What is behind PostgreSQL (``orders.idempotency``) asks a flag once: the last
table has what that takes.

Estimates are Hodges-Lehmann's over rounds with 95 % bootstrap intervals. A limit is exceeded when the interval is
wholly beyond it, kept when it is wholly within; between the two the run does not tell (more rounds would).

Exit codes: 0 no limit exceeded, 1 one is, 3 cannot run here.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import RedisError

from benchmarks import saving
from benchmarks.processes import ROOT, BenchmarkError, Client, cpu_seconds, free_port, gateway, process, read, wait
from costlab.failure import Failure
from costlab.lab.environment import describe
from costlab.lab.statistics import hodges_lehmann, interval
from costlab.stack import binaries

SEED = 21
LIMIT_MS = 0.35
LIMIT_SHARE = 0.01
USERS = 10_000
# Rounds and requests per block: of the gateways, and of the mechanisms that are off.
FULL = {"rounds": 40, "requests": 100, "off_rounds": 60, "off_requests": 40}
QUICK = {"rounds": 8, "requests": 50, "off_rounds": 12, "off_requests": 25}
LONGEST_SECONDS = 300
GCRA = {"gateway.rate_limit": "gcra", "gateway.rate_limit_rate": 100000, "gateway.rate_limit_burst": 100000}

# By gateway: the median in milliseconds and CPU microseconds per request; by "redis": a GET's median in milliseconds.
Round = dict[str, float]


def main() -> int:
    """Run it and print what came out."""
    options = _options()
    try:
        with ExitStack() as cleanup:
            result = run(QUICK if options.quick else FULL, cleanup)
    except Failure as failure:
        print(f"bench-flags: {failure}", file=sys.stderr)
        return failure.exit_code
    print(json.dumps(result, indent=1) if options.json else table(result))
    if options.save:
        print(f"saved {saving.save(result, 'flags')}", file=sys.stderr)
    return 1 if "exceeded" in verdicts(result) else 0


def run(size: dict[str, int], cleanup: ExitStack) -> dict:
    """Start what is measured, measure it, and say what came out."""
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="costlab-bench-")))
    upstream = _upstream(folder, cleanup)
    redis_url = _redis(folder, cleanup)
    names = {"off": {"gateway.rate_limit": "off"}, "gcra": GCRA}
    ports: dict[str, tuple[int, psutil.Process]] = {}
    for number, (name, flags) in enumerate(names.items(), start=1):
        started = gateway(f"gateway, {name}", upstream, f"{redis_url}/{number}", folder, flags, {})
        ports[name] = cleanup.enter_context(started)
    rounds = list(_rounds(ports, redis_url, size))
    off = _off_costs(upstream, f"{redis_url}/3", folder, size)
    return result(rounds, off) | {"size": size, "environment": describe(None).model_dump(mode="json")}


def _upstream(folder: Path, cleanup: ExitStack) -> str:
    port, log = free_port(), folder / "upstream.log"
    command = [sys.executable, "-m", "benchmarks.fixed_upstream", str(port)]
    started = cleanup.enter_context(process(command, {}, log))
    wait(lambda: read(f"http://127.0.0.1:{port}/"), "the upstream", started, log)
    return f"http://127.0.0.1:{port}"


def _redis(folder: Path, cleanup: ExitStack) -> str:
    port, log = free_port(), folder / "redis.log"
    command = [str(binaries.redis().program), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    started = cleanup.enter_context(process(command, {}, log))

    def ping() -> None:
        with Redis(port=port) as client:
            try:
                client.ping()
            except RedisError as error:
                raise OSError(str(error)) from error

    wait(ping, "redis", started, log)
    return f"redis://127.0.0.1:{port}"


def _rounds(ports: dict[str, tuple[int, psutil.Process]], redis_url: str, size: dict[str, int]) -> Iterator[Round]:
    order = random.Random(SEED)  # noqa: S311 - an order of blocks, not a secret
    with Redis.from_url(f"{redis_url}/0") as pooled:
        ask: dict[str, Callable[[], float]] = {"redis": lambda: _get(pooled)}
        for name, (port, _) in ports.items():
            ask[name] = partial(_user, Client(name, port), order)
        for number in range(-1, size["rounds"]):  # the first warms up
            print(f"  rate limit: round {max(number, 0) + 1} of {size['rounds']}", file=sys.stderr)
            measured: Round = {}
            for name in order.sample(list(ask), len(ask)):
                started = ports[name][1] if name in ports else None
                before = cpu_seconds(started)
                times = [ask[name]() for _ in range(size["requests"])]
                measured[f"{name}_ms"] = statistics.median(times) * 1000
                measured[f"{name}_cpu_us"] = (cpu_seconds(started) - before) / size["requests"] * 1e6
            if number >= 0:
                yield measured


def _user(client: Client, order: random.Random) -> float:
    return client.get(f"/api/users/{order.randint(1, USERS)}")


def _get(pooled: Redis) -> float:
    started = time.perf_counter()
    pooled.get("nothing")
    return time.perf_counter() - started


def _off_costs(upstream: str, redis_url: str, folder: Path, size: dict[str, int]) -> dict:
    counts = folder / "metrics"
    counts.mkdir()
    sizes = [str(size["off_rounds"]), str(size["off_requests"])]
    command = [sys.executable, "-m", "benchmarks.off_costs", upstream, redis_url, str(folder), *sizes]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(counts)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=LONGEST_SECONDS, check=False
    )
    if done.returncode:
        raise BenchmarkError("the mechanisms that are off were not measured; what went wrong stands above")
    return json.loads(done.stdout)


def result(rounds: Sequence[Round], off: dict) -> dict:
    """What the blocks say, held against the limits."""
    added = _estimate([one["gcra_ms"] - one["off_ms"] for one in rounds])
    request_us = statistics.median(one["off_cpu_us"] for one in rounds)
    return {
        "seed": SEED,
        "limits": {"rate_limit_ms": LIMIT_MS, "off_share": LIMIT_SHARE},
        "rate_limit": {
            "added_p50_ms": added | {"verdict": verdict(added, LIMIT_MS)},
            "redis_get_p50_ms": _estimate([one["redis_ms"] for one in rounds]),
            "off_p50_ms": _estimate([one["off_ms"] for one in rounds]),
            "added_cpu_us": _estimate([one["gcra_cpu_us"] - one["off_cpu_us"] for one in rounds]),
            "request_cpu_us": request_us,
        },
        "off": {name: _off(part, request_us) for name, part in off["mechanisms"].items()},
        "hot_paths_ns": {name: _estimate(values) for name, values in off["ns"].items()},
        "rounds": list(rounds),
        "off_rounds": off,
    }


def _off(part: dict, request_us: float) -> dict:
    """A mechanism's share of a request: of the gateway's process where it is the gateway's, else of what was called."""
    called = statistics.median(one["without"] for one in part["rounds"])
    of = max(called, request_us) if part["host"] == "gateway" else called
    share = _estimate([(one["with"] - one["without"]) / of for one in part["rounds"]])
    ratio = _estimate([one["with"] / one["without"] for one in part["rounds"]])
    return {
        "host": part["host"],
        "ratio": ratio,
        "called_us": called,
        "share": share | {"verdict": verdict(share, LIMIT_SHARE)},
    }


def _estimate(values: Sequence[float]) -> dict:
    low, high = interval(values, SEED)
    return {"estimate": hodges_lehmann(values), "low": low, "high": high}


def verdict(estimate: dict, limit: float) -> str:
    """``exceeded`` or ``kept`` where the whole interval is; else ``open``."""
    if estimate["low"] > limit:
        return "exceeded"
    return "kept" if estimate["high"] <= limit else "open"


def verdicts(result: dict) -> list[str]:
    """Of every limit."""
    off = [part["share"]["verdict"] for part in result["off"].values()]
    return [result["rate_limit"]["added_p50_ms"]["verdict"], *off]


def table(result: dict) -> str:
    """The result for a person."""
    limit = result["rate_limit"]
    added = limit["added_p50_ms"]
    lines = [
        f"{'rate limit (gcra) through Redis':42}{'estimate (95 %)':>28}   limit",
        f"  {'added to the p50, ms':40}{_show(added, 1, 3):>28}   {_judged(added, LIMIT_MS)}",
        f"  {'a pooled Redis GET on this machine, ms':40}{_show(limit['redis_get_p50_ms'], 1, 3):>28}",
        f"  {'p50 without a limit, ms':40}{_show(limit['off_p50_ms'], 1, 3):>28}",
        f"  {'added to the CPU of a request, µs':40}{_show(limit['added_cpu_us'], 1, 0):>28}",
        "",
        f"{'mechanisms that are off':30}{'with / without (95 %)':>28}{'share of a request, %':>28}   limit",
    ]
    for name, part in result["off"].items():
        shown = f"{_show(part['ratio'], 1, 4):>28}{_show(part['share'], 100, 2):>28}"
        lines.append(f"  {name:28}{shown}   {_judged(part['share'], LIMIT_SHARE)}")
    lines += ["", f"{'hot paths':46}{'ns of CPU (95 %)':>28}"]
    for name, spent in result["hot_paths_ns"].items():
        lines.append(f"  {name:44}{_show(spent, 1, 0):>28}")
    lines.append(
        f"{len(result['rounds'])} rounds; a request takes the gateway's process {limit['request_cpu_us']:.0f} µs of CPU"
    )
    return "\n".join(lines)


def _show(estimate: dict, unit: float, digits: int) -> str:
    shown = [f"{estimate[name] * unit:.{digits}f}" for name in ("estimate", "low", "high")]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def _judged(estimate: dict, limit: float) -> str:
    bound = f"≤ {limit:g}" if limit >= LIMIT_MS else f"≤ {limit:.0%}"
    said = {"kept": "kept", "exceeded": "EXCEEDED", "open": "not settled"}
    return f"{bound} {said[estimate['verdict']]}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-flags", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds: what is grossly wrong shows")
    parser.add_argument("--json", action="store_true", help="print every figure, also of each block")
    parser.add_argument("--save", action="store_true", help="keep it in benchmarks/flags/, for documents to cite")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
