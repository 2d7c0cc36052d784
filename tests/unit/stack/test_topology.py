"""docker-compose.yml as the local runner understands it."""

from pathlib import Path

import pytest

from costlab.stack import StackError, ports
from costlab.stack.topology import Topology

STATE = Path("/state")


def read(environment=None):
    """The project's own topology, on loopback."""
    given = environment or {}
    return Topology.read(ports.COMPOSE_FILE, {**ports.moved(given), **given}).on_loopback(STATE)


@pytest.fixture
def written(tmp_path):
    """``written("services: ...")``: that text, read as a topology."""

    def read_text(text, environment=None):
        file = tmp_path / "docker-compose.yml"
        file.write_text(text)
        return Topology.read(file, environment or {})

    return read_text


def test_our_services_run_locally_with_postgres_and_redis_and_the_other_containers_do_not():
    assert set(read().services) == {
        "gateway", "users", "orders", "cache-proxy", "worker", "prepare", "postgres", "redis",
    }  # fmt: skip


def test_every_service_comes_after_those_it_depends_on():
    order = list(read().services)
    for service in read().services.values():
        assert all(order.index(needed) < order.index(service.name) for needed in service.depends_on)


def test_host_names_of_containers_become_loopback_addresses():
    seen = read().services["orders"].environment
    assert seen["COSTLAB_USERS_URL"] == "http://127.0.0.1:8081"
    assert seen["COSTLAB_CACHE_PROXY_URL"] == "http://127.0.0.1:8083"
    assert seen["COSTLAB_REDIS_URL"] == "redis://127.0.0.1:6480/0"
    assert seen["COSTLAB_DATABASE_URL"] == "postgresql://orders:costlab@127.0.0.1:5480/costlab"


def test_a_service_listens_on_loopback_only():
    seen = read().services["users"].environment
    assert (seen["COSTLAB_BIND"], seen["COSTLAB_INTERNAL_BIND"]) == ("127.0.0.1:8081", "127.0.0.1:9081")


def test_a_file_in_a_named_volume_lies_in_the_state_folder():
    tokens = {service.environment.get("COSTLAB_TOKEN_FILE") for service in read().services.values()}
    assert tokens - {None} == {"/state/control/token"}


def test_a_password_that_looks_like_a_port_is_left_alone():
    seen = read({"COSTLAB_DB_PASSWORD": "8000"}).services["users"].environment
    assert seen["COSTLAB_DATABASE_URL"] == "postgresql://users:8000@127.0.0.1:5480/costlab"


def test_spans_go_nowhere_unless_the_user_names_a_collector():
    assert read().services["users"].environment["COSTLAB_OTLP_ENDPOINT"] == ""
    named = read({"COSTLAB_OTLP_ENDPOINT": "http://127.0.0.1:4318"}).services["users"]
    assert named.environment["COSTLAB_OTLP_ENDPOINT"] == "http://127.0.0.1:4318"


def test_a_port_base_moves_every_port_by_the_same_distance():
    moved = {service: port for port, service in read({"COSTLAB_PORT_BASE": "18080"}).ports().items()}
    usual = {service: port for port, service in read().ports().items()}
    assert {moved[name] - usual[name] for name in usual} == {10000}


def test_services_that_wait_for_each_other_are_refused(written):
    text = """
    services:
      a: {build: ., command: [x], depends_on: [b]}
      b: {build: ., command: [x], depends_on: [a]}
    """
    with pytest.raises(StackError, match=r"wait for each other: (a -> b -> a|b -> a -> b)"):
        written(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services: [", "is not YAML"),
        ("nothing: here", "has no services"),
        ("services: {a: {build: ., command: gunicorn}}", "a needs a command, written as a list"),
        ("services: {a: {build: ., command: [x], depends_on: [jaeger]}}", "a depends on jaeger"),
        ("services: {a: {build: ., command: [x], ports: ['0.0.0.0:1:2']}}", "is not 127.0.0.1:<port"),
        ("services: {a: {build: ., command: [x], ports: ['127.0.0.1:99999:8000']}}", "is not 127.0.0.1:<port"),
        ("services: {a: {build: ., command: [x], depends_on: {b: {condition: ready}}}, b: {build: ., command: [x]}}",
         "a waits for b to be ready"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_one_clear_line(written, text, message):
    with pytest.raises(StackError, match=message) as caught:
        written(text)
    assert "\n" not in str(caught.value)


def test_two_services_on_one_port_are_refused(written):
    text = """
    services:
      a: {build: ., command: [x], ports: ["8080:8000", "9080:9000"]}
      b: {build: ., command: [x], ports: ["8080:8000", "9081:9000"]}
    """
    with pytest.raises(StackError, match="a and b would both listen on port 8080"):
        written(text).ports()


def test_a_topology_file_that_is_not_there_is_named():
    with pytest.raises(StackError, match=r"/nowhere/docker-compose\.yml cannot be read"):
        Topology.read(Path("/nowhere/docker-compose.yml"), {})
