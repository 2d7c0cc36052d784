"""What the gateway costs, against nginx in front of the same users service: ``make bench-gateway``.

One connection asks for one user after another, in blocks: directly, through nginx, through the gateway with rate
limit, breaker and tracing off, and through one with all three on (every request traced and exported to a sink that
answers). Blocks are short and rounds many, so that a machine that is slow for a second is so for all of a round; the
blocks of a round come in random order from a recorded seed. The figures are medians over rounds.

CPU is that of the proxy's process tree alone, read from the scheduler's own count (10 ms ticks where there is none),
and read after a pause in which what a block left behind (spans not yet exported) is done. Added p50 is over the
direct block of the same round.

Exit codes: 0 within the targets, 1 not, 3 cannot run here.
"""

import argparse
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks import saving
from benchmarks.processes import BenchmarkError, CannotRun, Client, cpu_seconds, free_port, gateway, process, read, wait
from costlab.failure import Failure
from costlab.lab.environment import describe
from costlab.lab.statistics import hodges_lehmann, interval
from costlab.service.tracing import EXPORT_MS
from costlab.stack import open_stack
from costlab.stack.ports import keep_base

# Times nginx's CPU per request.
TARGETS = {"gateway, all off": 7.0, "gateway, all on": 10.0}
ALL_ON = {
    "gateway.rate_limit": "gcra",
    "gateway.rate_limit_rate": 100000,
    "gateway.rate_limit_burst": 100000,
    "http.breaker": "breaker",
    "tracing.sample": 1,
}
USERS = 10_000
WARM_UP = 200
# For all of it, the stack's start included; a slow machine gets fewer rounds.
LONGEST_SECONDS = 90.0
# Spans have left after this time.
EXPORT_SECONDS = EXPORT_MS / 1000
SEED = 20

_NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream users {{ server {upstream}; keepalive 16; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port};
        location /api/ {{
            proxy_pass http://users/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Contender:
    """One way to reach the users service. ``process`` is the proxy's, None for the direct way. What a block leaves
    behind is done after ``quiet_seconds``."""

    name: str
    port: int
    path: str
    process: psutil.Process | None
    quiet_seconds: float = 0.05


@dataclass(frozen=True)
class Block:
    """One stretch of requests through one contender. Microseconds; CPU per request, of the proxy alone."""

    p50: float
    cpu: float


def main() -> int:
    options = _options()
    try:
        with ExitStack() as cleanup:
            result = run(options, cleanup)
    except Failure as failure:
        print(f"bench-gateway: {failure}", file=sys.stderr)
        return failure.exit_code
    print(json.dumps(result, indent=1) if options.json else table(result))
    if options.save:
        print(f"saved {saving.save(result, 'gateway')}", file=sys.stderr)
    return 0 if result["within_targets"] else 1


def run(options: argparse.Namespace, cleanup: ExitStack) -> dict:
    """Start what is measured, measure it, and say what came out."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if nginx is None:
        raise CannotRun("nginx, the yardstick, is not on this machine; install it (Debian: apt-get install nginx)")
    ends = time.monotonic() + LONGEST_SECONDS
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="costlab-bench-")))
    users_url, redis_url, environment = cleanup.enter_context(_users(options, folder / "stack"))
    sink = free_port()
    cleanup.enter_context(process([sys.executable, "-m", "benchmarks.otlp_sink", str(sink)], {}, folder / "sink.log"))
    contenders = [
        Contender("direct", urlsplit(users_url).port or 80, "", None),
        cleanup.enter_context(_nginx(nginx, users_url, folder)),
        cleanup.enter_context(_gateway("gateway, all off", users_url, f"{redis_url}/14", sink, folder, {})),
        cleanup.enter_context(_gateway("gateway, all on", users_url, f"{redis_url}/15", sink, folder, ALL_ON)),
    ]
    rounds = list(_rounds(contenders, options.rounds, options.requests, ends))
    exported = json.loads(read(f"http://127.0.0.1:{sink}/"))
    if not exported["exports"]:
        raise BenchmarkError("no span was exported, so the price of tracing was not measured")
    return _result(rounds, options, exported) | {"environment": environment, "nginx": _version(nginx)}


@contextmanager
def _users(options: argparse.Namespace, state: Path) -> Iterator[tuple[str, str, dict | None]]:
    """The users service and its Redis, and where they run: those given, or those of a stack of our own."""
    if options.users_url:
        yield options.users_url, options.redis_url, None
        return
    stack = open_stack("local", state, keep_base())
    stack.up(lambda line: print(line, file=sys.stderr))
    try:
        port = next(row.port for row in stack.status() if row.name == "users")
        redis_url = stack.redis_url().rpartition("/")[0]
        yield f"http://127.0.0.1:{port}", redis_url, describe(stack).model_dump(mode="json")
    finally:
        stack.down(volumes=True)


def _rounds(contenders: list[Contender], rounds: int, requests: int, ends: float) -> Iterator[dict[str, Block]]:
    """The blocks of each round, by contender. Two rounds at least; no more after ``ends``."""
    order = random.Random(SEED)  # noqa: S311 - an order of blocks, not a secret
    clients = {contender: Client(contender.name, contender.port) for contender in contenders}
    for contender, client in clients.items():
        _block(contender, client, WARM_UP, 0)
    for number in range(rounds):
        started = time.monotonic()
        permuted = order.sample(contenders, len(contenders))
        yield {contender.name: _block(contender, clients[contender], requests, number) for contender in permuted}
        if number > 0 and time.monotonic() + (time.monotonic() - started) > ends:
            return


def _block(contender: Contender, client: Client, requests: int, seed: int) -> Block:
    ids = random.Random(seed).choices(range(1, USERS + 1), k=requests)  # noqa: S311
    before = cpu_seconds(contender.process)
    times = sorted(client.get(f"{contender.path}/users/{id_}") for id_ in ids)
    time.sleep(contender.quiet_seconds)
    cpu = cpu_seconds(contender.process) - before
    return Block(times[requests // 2] * 1e6, cpu / requests * 1e6)


@contextmanager
def _nginx(binary: str, users_url: str, folder: Path) -> Iterator[Contender]:
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, upstream=urlsplit(users_url).netloc, port=port))
    log = folder / "nginx.log"
    with process([binary, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)], {}, log) as started:
        wait(lambda: read(f"http://127.0.0.1:{port}/api/users/1"), "nginx", started, log)
        yield Contender("nginx", port, "/api", started)


@contextmanager
def _gateway(
    name: str, users_url: str, redis_url: str, sink: int, folder: Path, flags: dict[str, object]
) -> Iterator[Contender]:
    export = {"COSTLAB_OTLP_ENDPOINT": f"http://127.0.0.1:{sink}"}
    wanted = {flag: flags.get(flag) for flag in ALL_ON}
    with gateway(name, users_url, redis_url, folder, wanted, export) as (port, started):
        yield Contender(name, port, "/api", started, EXPORT_SECONDS + 0.1 if flags else 0.05)


def _version(nginx: str) -> str:
    said = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().rpartition("/")[2]


def _result(rounds: list[dict[str, Block]], options: argparse.Namespace, exported: dict) -> dict:
    rows = {name: _row(name, rounds) for name in ("direct", "nginx", *TARGETS)}
    return {
        "rounds": len(rounds),
        "requests_per_block": options.requests,
        "seed": SEED,
        "exported": exported,
        "targets": TARGETS,
        "within_targets": all(rows[name]["times_nginx"]["estimate"] <= most for name, most in TARGETS.items()),
        "contenders": rows,
        "blocks": [{name: asdict(block) for name, block in blocks.items()} for blocks in rounds],
    }


def _row(name: str, rounds: list[dict[str, Block]]) -> dict:
    row: dict[str, object] = {"p50_us": _spread([blocks[name].p50 for blocks in rounds])}
    if name != "direct":
        row["added_p50_us"] = _spread([blocks[name].p50 - blocks["direct"].p50 for blocks in rounds])
        row["cpu_us"] = _spread([blocks[name].cpu for blocks in rounds])
        ratios = [math.log(blocks[name].cpu / blocks["nginx"].cpu) for blocks in rounds]
        low, high = interval(ratios, SEED)
        row["times_nginx"] = {
            "estimate": math.exp(hodges_lehmann(ratios)),
            "low": math.exp(low),
            "high": math.exp(high),
        }
    return row


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def table(result: dict) -> str:
    """The result for a person."""
    lines = [f"{'':18}{'p50 ms':>16}{'added p50 ms':>20}{'CPU µs/request':>22}{'x nginx (95 %)':>22}{'target':>10}"]
    for name, row in result["contenders"].items():
        line = f"{name:18}{_show(row['p50_us'], 1000, 2):>16}"
        if name != "direct":
            times = row["times_nginx"]
            shown = f"{times['estimate']:.1f} ({times['low']:.1f} to {times['high']:.1f})"
            line += f"{_show(row['added_p50_us'], 1000, 2):>20}{_show(row['cpu_us'], 1, 0):>22}{shown:>22}"
        if name in TARGETS:
            met = "met" if row["times_nginx"]["estimate"] <= TARGETS[name] else "MISSED"
            line += f"{f'≤ {TARGETS[name]:g} {met}':>12}"
        lines.append(line)
    exported = result["exported"]
    lines.append(
        f"medians (lowest to highest) of {result['rounds']} rounds of {result['requests_per_block']} requests, "
        f"one connection; {exported['exports']} exports of {exported['bytes'] // 1024} KiB of spans"
    )
    return "\n".join(lines)


def _show(spread: dict[str, float], unit: float, digits: int) -> str:
    low, high = spread["lowest"] / unit, spread["highest"] / unit
    return f"{spread['median'] / unit:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-gateway", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--requests", type=int, default=150, help="requests per block")
    parser.add_argument("--users-url", help="a users service that runs already, instead of a stack for this run")
    parser.add_argument("--redis-url", help="the Redis beside it, without a database number")
    parser.add_argument("--json", action="store_true", help="print every figure, also of each block")
    parser.add_argument("--save", action="store_true", help="keep it in benchmarks/gateway/, for documents to cite")
    options = parser.parse_args()
    if options.rounds < 2 or options.requests < 10:
        parser.error("it takes at least 2 rounds of 10 requests")
    if bool(options.users_url) != bool(options.redis_url):
        parser.error("--users-url and --redis-url go together")
    return options


if __name__ == "__main__":
    sys.exit(main())
