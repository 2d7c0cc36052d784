"""The edges on which faults on the wire can be made: three files speak of them, and they agree."""

import re
from pathlib import Path

import pytest

from costlab.stack import ROOT, StackError, ports, wire
from costlab.stack.topology import EMBEDDED, Topology

COMPOSE = (ROOT / "docker-compose.yml").read_text()
ENVIRONMENT = dict(
    line.split("=", 1)
    for line in (ROOT / "infra" / "toxiproxy" / "wire.env").read_text().splitlines()
    if line and not line.startswith("#")
)


def topology(**environment):
    """The project's own, on loopback."""
    return Topology.read(ports.COMPOSE_FILE, {**ports.moved({}), **environment}).on_loopback(Path("/state"))


def test_every_address_of_docker_compose_yml_that_toxiproxy_can_take_is_an_edge_and_its_upstream_the_default():
    taken = dict(re.findall(r"\$\{(COSTLAB_WIRE_\w+):-([^}]*)\}", COMPOSE))
    assert taken == {edge.variable: edge.upstream for edge in wire.edges()}


def test_plain_docker_compose_is_told_the_same_as_costlab_tells_it():
    assert {"COSTLAB_WIRE": "on", **wire.variables({"COSTLAB_WIRE": "on"})} == ENVIRONMENT


def test_every_edge_has_a_port_of_its_own():
    found = [edge.port for edge in wire.edges()]
    assert len(set(found)) == len(found)
    assert wire.API not in found


def test_with_the_wire_on_nobody_calls_anybody_directly():
    services = topology(COSTLAB_WIRE="on").services
    direct = {service.port(port) for service in services.values() for port in service.listens} - {
        services["toxiproxy"].port(port) for port in services["toxiproxy"].listens
    }
    for service in services.values():
        for name, value in service.environment.items():
            if name.endswith("_URL") and not service.once:
                assert not direct & {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", value)}, (
                    service.name,
                    name,
                )


def test_each_edge_is_seen_by_one_service_only():
    services = topology(COSTLAB_WIRE="on").services
    proxy = services["toxiproxy"]
    for edge in wire.edges():
        address = f"127.0.0.1:{proxy.port(edge.port)}"
        callers = {
            name for name, item in services.items() if any(address in value for value in item.environment.values())
        }
        assert callers == {edge.service}


def test_with_the_wire_off_there_is_no_toxiproxy_and_calls_go_directly():
    services = topology().services
    assert "toxiproxy" not in services
    assert services["orders"].environment["COSTLAB_USERS_URL"] == "http://127.0.0.1:8081"


def test_callers_start_after_toxiproxy():
    services = topology(COSTLAB_WIRE="on").services
    assert all("toxiproxy" in services[edge.service].depends_on for edge in wire.edges())
    assert "toxiproxy" in EMBEDDED


def test_ports_of_toxiproxy_collide_with_no_other_stack_a_hundred_ports_away():
    lasting = topology(COSTLAB_WIRE="on").ports()
    proxies = {port % 100 for port, service in lasting.items() if service == "toxiproxy"}
    assert not proxies & {port % 100 for port, service in lasting.items() if service != "toxiproxy"}


def test_profiles_asked_for_by_the_user_stay():
    assert wire.variables({"COSTLAB_WIRE": "on", "COMPOSE_PROFILES": "load"})["COMPOSE_PROFILES"] == "load,chaos"


def test_anything_but_on_and_off_is_refused():
    with pytest.raises(StackError, match="COSTLAB_WIRE is 'yes'; it must be on or off"):
        wire.is_on({"COSTLAB_WIRE": "yes"})
