"""Several instances of a service: their number, names, ports and addresses."""

from pathlib import Path

import pytest

from costlab.stack import StackError, ports, replicas
from costlab.stack.topology import Topology

THREE = {"COSTLAB_USERS_REPLICAS": "3"}


def read(environment):
    return Topology.read(ports.COMPOSE_FILE, {**ports.moved(environment), **environment}).on_loopback(Path("/state"))


@pytest.mark.parametrize("text", ["0", "9", "-1", "two", "1.5", "3 "])
def test_a_wrong_number_is_refused_with_what_is_allowed(text):
    with pytest.raises(StackError, match=f"COSTLAB_ORDERS_REPLICAS is '{text}'; it must be a whole number from 1 to 8"):
        read({"COSTLAB_ORDERS_REPLICAS": text})


@pytest.mark.parametrize("text", ["users", "users=", "users=9", "worker=2", "3"])
def test_the_command_line_refuses_what_it_cannot_do(text):
    with pytest.raises(StackError, match=r"services with replicas: users, orders|a whole number from 1 to 8"):
        replicas.asked_for(text)


def test_the_command_line_takes_a_service_and_a_number():
    assert replicas.asked_for("orders=2") == ("COSTLAB_ORDERS_REPLICAS", "2")


@pytest.mark.parametrize("service", ["users", "cache-proxy"])
@pytest.mark.parametrize("number", [1, 2, 8])
def test_a_name_says_which_service_an_instance_belongs_to(service, number):
    assert replicas.service_of(replicas.instance(service, number)) == service


def test_one_replica_is_the_stack_as_it_always_was():
    assert read({"COSTLAB_USERS_REPLICAS": "1"}).ports() == read({}).ports()
    assert "users-2" not in read({}).services


def test_each_instance_has_its_own_ports_and_listens_on_them():
    services = read(THREE).services
    binds = [services[name].environment["COSTLAB_BIND"] for name in ("users", "users-2", "users-3")]
    inside = [services[name].environment["COSTLAB_INTERNAL_BIND"] for name in ("users", "users-2", "users-3")]
    assert binds == ["127.0.0.1:8141", "127.0.0.1:8142", "127.0.0.1:8143"]
    assert inside == ["127.0.0.1:9141", "127.0.0.1:9142", "127.0.0.1:9143"]


@pytest.mark.parametrize("caller", ["gateway", "orders", "cache-proxy"])
def test_callers_are_told_every_instance(caller):
    told = read(THREE).services[caller].environment["COSTLAB_USERS_URL"]
    assert told == "http://127.0.0.1:8141,http://127.0.0.1:8142,http://127.0.0.1:8143"


def test_whoever_needs_a_service_waits_for_all_its_instances():
    assert {"users", "users-2", "users-3"} <= set(read(THREE).services["gateway"].depends_on)


def test_as_many_replicas_as_there_may_be_collide_with_nobody():
    most = {replicas.variable(service): "8" for service in replicas.REPLICATED}
    assert len(read(most).ports()) == len(read({}).ports()) + 2 * 2 * 7


def test_a_single_port_for_several_instances_is_refused():
    with pytest.raises(StackError, match="users: 3 instances need as many ports, not 9081"):
        read({**THREE, "COSTLAB_USERS_INTERNAL_PORT": "9081"})


def test_faults_on_the_wire_and_replicas_are_refused_together():
    with pytest.raises(StackError, match="COSTLAB_WIRE=on and COSTLAB_USERS_REPLICAS do not go together"):
        read({**THREE, "COSTLAB_WIRE": "on"})


def test_the_compose_file_makes_exactly_these_services_replicable():
    text = ports.COMPOSE_FILE.read_text()
    for service in replicas.REPLICATED:
        assert f"${{{replicas.variable(service)}:-1}}" in text
    assert text.count("_REPLICAS:-1}") == len(replicas.REPLICATED)
