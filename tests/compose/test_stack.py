"""The whole stack on a real Docker engine. The last test takes it down."""

import contextlib
import json
import re
import signal
import urllib.error
import urllib.request

import psycopg2
import pytest

from costlab.stack import StackError
from costlab.stack.control import Control
from tests.compose.conftest import ENABLED, NEEDS_ENGINE, PROJECT, START_SECONDS, docker, scaled
from tests.conditions import eventually

if not ENABLED:
    pytest.skip(NEEDS_ENGINE, allow_module_level=True)

pytestmark = pytest.mark.timeout(START_SECONDS)

SERVED = "http_server_request_duration_seconds_count"
PYTHON_SERVICES = ("cache-proxy", "gateway", "orders", "users", "worker")
CORE = (*PYTHON_SERVICES, "postgres", "redis")


def test_every_health_check_is_green(stack):
    rows = stack.status()
    assert {row.name for row in rows if not row.healthy} == set()
    assert {row.name for row in rows} >= set(CORE)


def test_ports_are_bound_on_loopback_only(containers):
    bound = [
        (name, port, binding["HostIp"])
        for name, container in containers.items()
        for port, bindings in container["NetworkSettings"]["Ports"].items()
        for binding in bindings or ()
    ]
    assert len(bound) >= 8
    assert {host for _, _, host in bound} == {"127.0.0.1"}, bound


def test_the_control_plane_is_not_public(client):
    for path in ("/metrics", "/flags", "/api/metrics", "/api/flags"):
        assert client.get(path).status == 404


def test_no_container_runs_as_root_or_can_write_its_file_system(containers):
    for name, container in containers.items():
        assert container["HostConfig"]["ReadonlyRootfs"], name
        assert container["HostConfig"]["CapDrop"] == ["ALL"], name
        assert container["HostConfig"]["Memory"] > 0, name
        identity = container["Id"]
        assert docker("exec", identity, "sh", "-c", "id -u").strip() != "0", name
        assert docker("exec", identity, "sh", "-c", "touch /written 2>/dev/null || echo refused") == "refused\n", name


def test_the_image_of_the_services_has_no_build_tools_and_no_installer(containers):
    identity = containers["gateway"]["Id"]
    tools = ("gcc", "cc", "g++", "make", "ld", "pip", "pip3", "uv", "git", "curl")
    for tool in tools:
        assert docker("exec", identity, "sh", "-c", f"command -v {tool} || echo none") == "none\n"
    for module in ("pip", "ensurepip", "setuptools"):
        found = docker("exec", identity, "python", "-c", f"import importlib.util as u; print(u.find_spec('{module}'))")
        assert found == "None\n", module


def test_bytecode_is_in_the_image(containers):
    identity = containers["gateway"]["Id"]
    cached = "import costlab.service.app as m, os; print(os.path.exists(m.__cached__))"
    assert docker("exec", identity, "python", "-c", cached) == "True\n"


def test_an_order_placed_through_the_gateway_is_processed_by_the_worker(stack, client):
    reply = client.post("/api/orders", {"user_id": 1, "lines": [{"product_id": 5, "quantity": 2}]})
    assert reply.status == 201, reply.body
    order = reply.json["id"]
    assert client.get(f"/api/orders/{order}").json["lines"][0]["quantity"] == 2
    eventually(lambda: _fulfilments(stack, order) == 1, within=20)


def test_flags_reach_every_process(control):
    revision = control.set_flags({"cache.strategy": "ttl", "cache.ttl": 7})
    for service in PYTHON_SERVICES:
        values = {value for name, _, value in control.metrics(service) if name == "costlab_flags_revision"}
        assert values, service
        assert min(values) >= revision, service


def test_the_cache_answers_the_second_read(control, client):
    control.set_flags({"gateway.reads": "cache_proxy", "cache.strategy": "ttl"})
    first, second = client.get("/api/users/77"), client.get("/api/users/77")
    assert first.body == second.body
    assert "hit" in second.headers["Cache-Status"]


def test_queries_can_be_counted_by_the_role_of_the_lab(stack):
    with contextlib.closing(psycopg2.connect(stack.dsn())) as database, database.cursor() as cursor:
        cursor.execute("select count(*) from pg_stat_statements")
        assert cursor.fetchone()[0] > 0


def test_usage_counts_cpu_and_memory_of_every_service(stack, client):
    before = stack.usage()
    assert set(before) == set(CORE)
    assert {usage.memory_kind for usage in before.values()} == {"cgroup"}
    assert all(1_000_000 < usage.memory_bytes < 1_000_000_000 for usage in before.values())
    for number in range(1, 50):
        assert client.get(f"/api/users/{number}").status == 200
    after = stack.usage()
    for service in ("gateway", "users", "postgres"):
        assert after[service].cpu_seconds > before[service].cpu_seconds


def test_prometheus_scrapes_every_service(containers):
    if "prometheus" not in containers:
        pytest.skip("prometheus was left out by COSTLAB_WITHOUT")
    port = containers["prometheus"]["NetworkSettings"]["Ports"]["9090/tcp"][0]["HostPort"]

    def all_up() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/targets", timeout=5) as answer:
            targets = json.load(answer)["data"]["activeTargets"]
        return {t["labels"].get("service") for t in targets if t["health"] == "up"} >= set(PYTHON_SERVICES)

    eventually(all_up, within=30)


def test_grafana_lets_anyone_look_and_nobody_change(containers):
    if "grafana" not in containers:
        pytest.skip("grafana was left out by COSTLAB_WITHOUT (its image is not in Debian)")
    base = f"http://127.0.0.1:{containers['grafana']['NetworkSettings']['Ports']['3000/tcp'][0]['HostPort']}"
    with urllib.request.urlopen(f"{base}/api/search", timeout=5) as answer:
        assert answer.status == 200
    for path in ("/api/admin/settings", "/api/datasources"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(base + path, timeout=5)
        assert refused.value.code in (401, 403)
        refused.value.close()


def test_spans_reach_jaeger(containers, control, client):
    if "jaeger" not in containers:
        pytest.skip("jaeger was left out by COSTLAB_WITHOUT (its image is not in Debian)")
    control.set_flags({"tracing.sample": 1})
    port = containers["jaeger"]["NetworkSettings"]["Ports"]["16686/tcp"][0]["HostPort"]

    def known() -> bool:
        client.get("/api/users/1")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/services", timeout=5) as answer:
            return {"gateway", "users"} <= set(json.load(answer)["data"] or ())

    eventually(known, within=30)


def test_a_killed_service_comes_back_by_itself(stack, client):
    before = next(row.pid for row in stack.status() if row.name == "users")
    stack.kill("users", signal.SIGKILL)
    eventually(lambda: next(row for row in stack.status() if row.name == "users").pid not in (before, None), within=30)
    eventually(lambda: client.get("/api/users/1").status == 200, within=30)


def test_restart_returns_when_the_service_is_healthy_again(stack, client):
    stack.restart("orders")
    assert next(row for row in stack.status() if row.name == "orders").healthy
    eventually(lambda: client.get("/api/products/1").status == 200, within=10)


def test_logs_name_the_service(stack):
    assert any(re.match(r"postgres-1\s+\| .*ready to accept connections", line) for line in stack.logs("postgres"))
    with pytest.raises(StackError, match=r"no service 'nobody'; there are .*gateway"):
        next(stack.logs("nobody"))


def test_a_second_up_says_that_it_runs_already(stack):
    said = []
    stack.up(said.append)
    assert said[-1] == f"the stack is up already: {stack.base_url()}"


def test_users_can_be_scaled_to_three_that_are_all_used_and_done_without(stack, client):
    larger = scaled(stack, users=3)
    larger.up(lambda line: None)
    names = ("users", "users-2", "users-3")
    assert {row.name for row in larger.status() if row.healthy} >= {*CORE, *names}
    assert len({larger.internal_urls()[name] for name in names}) == 3
    assert set(larger.usage()) == set(CORE)
    control = Control(larger.internal_urls(), larger.token())

    def answered(name: str) -> float:
        samples = control.metrics(name)
        return sum(value for metric, labels, value in samples if metric == SERVED and "/users/" in labels["http_route"])

    before = {name: answered(name) for name in names}

    def all_answer() -> bool:
        assert {client.get(f"/api/users/{user}").status for user in range(1, 31)} == {200}
        return all(answered(name) > before[name] + 5 for name in names)

    eventually(all_answer, within=30)
    larger.stop("users-2")
    assert {client.get(f"/api/users/{user}").status for user in range(1, 31)} == {200}
    assert {row.name for row in larger.status() if not row.healthy} == {"users-2"}
    larger.start("users-2")
    assert {row.name for row in larger.status() if not row.healthy} == set()


def test_down_leaves_nothing(stack):
    stack.down(volumes=True)
    for what in (["ps", "--all"], ["network", "ls"], ["volume", "ls"]):
        assert docker(*what, "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}") == ""
    assert {row.state for row in stack.status()} == {"absent"}


def _fulfilments(stack, order: int) -> int:
    with contextlib.closing(psycopg2.connect(stack.dsn("postgres"))) as database, database.cursor() as cursor:
        cursor.execute("select count(*) from worker.fulfilments where order_id = %s", [order])
        return cursor.fetchone()[0]
