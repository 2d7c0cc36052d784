"""A stack's ports: moved together, free before anything starts."""

import os
import socket
import subprocess
import sys

import pytest

from costlab.stack import StackError, ports


@pytest.fixture
def listener():
    """A port of this machine on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_without_a_base_the_ports_are_those_of_compose():
    assert ports.moved({})["COSTLAB_GATEWAY_PORT"] == "8080"
    assert ports.moved({})["COSTLAB_POSTGRES_PORT"] == "5480"


def test_every_port_moves_with_the_base():
    moved = ports.moved({"COSTLAB_PORT_BASE": "18080"})
    assert {int(moved[name]) - int(usual) for name, usual in ports.moved({}).items()} == {10000}


@pytest.mark.parametrize("base", ["abc", "80", "70000", "-1", "8080.5"])
def test_a_base_that_is_no_suitable_port_is_refused_with_what_is_allowed(base):
    with pytest.raises(StackError, match=rf"COSTLAB_PORT_BASE is '{base}'; it must be a port number from 6200 to 5"):
        ports.base({"COSTLAB_PORT_BASE": base})


def test_a_taken_port_is_named_with_its_holder_and_another_choice(listener):
    with pytest.raises(StackError) as caught:
        ports.refuse_taken({listener: "gateway"})
    message = str(caught.value)
    assert f"port {listener}, wanted for gateway, is taken by" in message
    assert f"(pid {os.getpid()})" in message
    assert "COSTLAB_PORT_BASE=" in message


def test_the_base_that_is_proposed_has_all_its_ports_free():
    assert ports.taken({"COSTLAB_PORT_BASE": str(ports.free_base())}) == []


def test_bases_that_are_kept_at_once_have_no_port_in_common():
    bases = [ports.keep_base() for _ in range(6)]
    opened = [int(port) for base in bases for port in ports.moved({"COSTLAB_PORT_BASE": str(base)}).values()]
    for base in bases:
        ports.give_back(base)
    assert len(set(opened)) == len(opened)


def test_two_that_start_at_once_are_kept_apart():
    """A base that is kept is nobody else's, in this process or another; given back, or when that ends, it is free."""
    ask = [sys.executable, "-c", "from costlab.stack import ports; print(ports.keep_base())"]
    first, second = ports.keep_base(), ports.keep_base()
    other = int(subprocess.run(ask, capture_output=True, text=True, check=True).stdout)
    assert len({first, second, other}) == 3
    assert all(ports.taken({"COSTLAB_PORT_BASE": str(base)}) == [] for base in (first, second))
    with pytest.raises(OSError, match="in use"), socket.socket() as probe:
        probe.bind(("127.0.0.1", first + ports.KEPT))
    for base in (first, second):
        ports.give_back(base)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", first + ports.KEPT))
