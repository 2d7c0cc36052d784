"""What cannot be started is refused in one line that says what to do."""

import os
import socket

import pytest

from costlab.stack import StackError
from costlab.stack.compose import ComposeStack
from tests.compose.conftest import START_SECONDS, compose_stack, needs_engine

REFUSED = "costlab-refused"


def quiet(_line: str) -> None:
    """Nobody reads the progress of what must fail."""


def test_a_machine_without_docker_is_told_of_the_local_stack(tmp_path):
    stack = ComposeStack(tmp_path, {"PATH": str(tmp_path)})
    with pytest.raises(StackError, match=r"^no docker command on this machine: .* local stack"):
        stack.up(quiet)


def test_only_what_watches_the_stack_can_be_left_out(tmp_path):
    with pytest.raises(StackError, match=r"names redis; what can be left out: grafana, jaeger, prometheus"):
        ComposeStack(tmp_path, {"COSTLAB_WITHOUT": "grafana, redis"})


@pytest.mark.parametrize("base", ["http", "80", "65000"])
def test_a_port_base_out_of_range_is_refused(tmp_path, base):
    with pytest.raises(StackError, match=rf"COSTLAB_PORT_BASE is '{base}'; it must be a port number from"):
        ComposeStack(tmp_path, {"COSTLAB_PORT_BASE": base})


@needs_engine
def test_an_engine_that_does_not_run_is_said_so(tmp_path):
    stack = ComposeStack(tmp_path, dict(os.environ) | {"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"})
    with pytest.raises(StackError, match=r"no Docker engine answers at .*docker\.sock .*: start Docker"):
        stack.up(quiet)


@needs_engine
def test_a_taken_port_is_named_before_anything_starts(tmp_path):
    stack = compose_stack(tmp_path, REFUSED)
    port = int(stack.base_url().rpartition(":")[2])
    taken = rf"^port {port}, wanted for gateway, is taken by"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(StackError, match=taken):
        stack.up(quiet)
    assert {row.state for row in stack.status()} == {"absent"}


@needs_engine
@pytest.mark.timeout(START_SECONDS)
def test_a_setting_that_stops_a_service_is_quoted_and_nothing_is_left_running(tmp_path):
    stack = compose_stack(tmp_path, REFUSED, COSTLAB_THREADS="many")
    with pytest.raises(StackError, match=r"again and again: .*cannot start: COSTLAB_THREADS: "):
        stack.up(quiet)
    assert {row.state for row in stack.status()} == {"absent"}
    stack.down(volumes=True)
