"""Every alert fires under its fault and clears after it: a real Prometheus at a real stack that is broken on purpose.

The windows of the rules are hours. Here they are divided by SCALE, all of them and nothing else, so that an hour passes
in a minute; tests/rules holds the rules as they are.
"""

import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from redis import Redis

from costlab.stack.chaos import Chaos
from services.worker.job_stream import STREAM
from tests.e2e.prometheus import RULES, Prometheus, needs_prometheus, started

pytestmark = [
    pytest.mark.skipif("COSTLAB_TEST_DASHBOARDS" not in os.environ, reason="`make test-dashboards` runs this"),
    needs_prometheus,
    pytest.mark.timeout(900),
]

SCALE = 60
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FILES = ("slo.yml", "work.yml")
PATIENCE = 240.0
FAST, MEDIUM, SLOW = "ErrorBudgetBurnsFast", "ErrorBudgetBurns", "ErrorBudgetBurnsSlowly"
Alert = tuple[str, str]  # its name and its objective, if it has one


def scaled(text: str) -> str:
    """Rules with every range and every ``for`` divided by SCALE."""

    def shorter(found: re.Match) -> str:
        return f"{found[1]}{int(found[2]) * SECONDS[found[3]] * 1000 // SCALE}ms{found[4]}"

    return re.sub(r"(\[|for: )(\d+)([smhd])(\]|$)", shorter, text, flags=re.MULTILINE)


def test_every_duration_of_the_rules_is_scaled_and_nothing_else():
    assert scaled("expr: rate(a:5m[5m]) > 6\nfor: 30s\n") == "expr: rate(a:5m[5000ms]) > 6\nfor: 500ms\n"
    assert not re.search(r"offset|\[\d+[smhd]\]|for: \d+[smhd]$|\[[^\]]*:", "".join(_scaled_files().values()))


def _scaled_files() -> dict[str, str]:
    return {name: scaled((RULES / name).read_text()) for name in FILES}


@pytest.fixture(scope="module")
def prometheus(stack, tmp_path_factory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("alerts")
    (folder / "rules").mkdir()
    for name, text in _scaled_files().items():
        (folder / "rules" / name).write_text(text)
    with started(stack, folder, folder / "rules") as running:
        yield running


@pytest.fixture
def chaos(stack) -> Iterator[Chaos]:
    made = Chaos(stack)
    yield made
    made.clear()


def sent_until(condition: Callable[[], bool], send: Callable[[], object], at_once: int = 8) -> None:
    """Requests, ``at_once`` of them, until ``condition`` holds; fail when it does not within PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    with ThreadPoolExecutor(at_once) as pool:
        while not condition():
            assert time.monotonic() < deadline, f"not true within {PATIENCE} s"
            for asked in [pool.submit(send) for _ in range(5 * at_once)]:
                asked.result()


def firing(prometheus: Prometheus, *alerts: Alert) -> bool:
    return set(alerts) <= prometheus.alerts()


def clear(prometheus: Prometheus, *alerts: Alert) -> bool:
    return not set(alerts) & (prometheus.alerts() | prometheus.alerts("pending"))


def test_slow_answers_burn_the_budget_for_latency_at_every_pace(prometheus, chaos, client):
    alerts = [(name, "latency") for name in (FAST, MEDIUM, SLOW)]
    ask = partial(client.get, "/api/users/1")
    sent_until(lambda: bool(prometheus.values("slo:burn_rate:5m")), ask, at_once=1)
    chaos.add({"fault": "latency", "on": "users", "ttl": 300, "parameters": {"ms": 300}})
    # One at a time: the slow ones have to be outnumbered by twenty to one before the slow burn is over.
    sent_until(lambda: firing(prometheus, *alerts), ask, at_once=1)
    chaos.clear()
    sent_until(lambda: clear(prometheus, *alerts), ask)


def test_errors_burn_the_budget_for_availability_at_every_pace(prometheus, chaos, client):
    ask = partial(client.get, "/api/users/1")
    chaos.add({"fault": "errors", "on": "users", "rate": 1, "ttl": 300})
    sent_until(lambda: firing(prometheus, *[(name, "availability") for name in (FAST, MEDIUM, SLOW)]), ask)
    chaos.clear()
    # The slow burn ends with a window of six hours, six minutes here; that of latency was seen to.
    sent_until(lambda: clear(prometheus, (FAST, "availability"), (MEDIUM, "availability")), ask)


def test_a_service_that_stands_still_is_down(prometheus, chaos, client):
    chaos.add({"fault": "pause", "on": "worker", "ttl": 300})
    sent_until(lambda: firing(prometheus, ("ServiceDown", "")), partial(client.get, "/livez"), at_once=1)
    chaos.clear()
    sent_until(lambda: clear(prometheus, ("ServiceDown", "")), partial(client.get, "/livez"), at_once=1)


def test_jobs_wait_for_a_worker_whose_database_is_slow(prometheus, chaos, client):
    def order() -> None:
        ordered = {"user_id": 7, "lines": [{"product_id": 7, "quantity": 1}]}
        client.post("/api/orders", ordered, **{"Idempotency-Key": uuid.uuid4().hex})

    chaos.add({"fault": "latency", "on": "worker", "edge": "postgres", "ttl": 300, "parameters": {"ms": 500}})
    sent_until(lambda: firing(prometheus, ("JobsWait", "")), order)
    chaos.clear()
    sent_until(lambda: clear(prometheus, ("JobsWait", "")), partial(client.get, "/livez"), at_once=1)


def test_a_job_that_is_none_dies(prometheus, stack, client):
    with Redis.from_url(stack.redis_url()) as redis:
        redis.xadd(STREAM, {"key": "poison", "payload": "no order"})
    sent_until(lambda: firing(prometheus, ("JobsDie", "")), partial(client.get, "/livez"), at_once=1)
    sent_until(lambda: clear(prometheus, ("JobsDie", "")), partial(client.get, "/livez"), at_once=1)


def test_every_alert_there_is_is_tried_here():
    alerts = {alert for file in RULES.glob("*.yml") for alert in re.findall(r"alert: (\w+)", file.read_text())}
    assert alerts == {FAST, MEDIUM, SLOW, "ServiceDown", "JobsWait", "JobsDie"}
    assert alerts == set(re.findall(r"alert: (\w+)", "".join(_scaled_files().values())))
