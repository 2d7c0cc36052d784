"""The stack in real containers, under a project name and on ports of its own."""

import json
import os
import re
import subprocess
import sys

import pytest

from costlab.stack import ports, replicas
from costlab.stack.compose import ROOT, ComposeStack
from costlab.stack.control import Control
from tests.e2e.conftest import Client

PROJECT = f"{os.environ.get('COMPOSE_PROJECT_NAME', 'costlab')}-test"
PROCESSES = "2"
START_SECONDS = 900  # the first build of the image and the first pull are part of it


# Asked for by `make test-compose`; then a missing engine is a failure, or the gate would pass without these tests.
ENABLED = bool(os.environ.get("COSTLAB_TEST_COMPOSE"))
NEEDS_ENGINE = "needs a Docker engine: `make test-compose` runs this"
needs_engine = pytest.mark.skipif(not ENABLED, reason=NEEDS_ENGINE)


def compose_stack(state, project, base=None, **variables):
    """A stack of its own name, on free ports (or from ``base`` on), with ``variables`` over the environment."""
    inherited = {name: value for name, value in os.environ.items() if not re.fullmatch(r"COSTLAB_\w+_PORT", name)}
    ours = {"COMPOSE_PROJECT_NAME": project, "COSTLAB_PORT_BASE": str(base or ports.keep_base())}
    return ComposeStack(state, inherited | ours | variables)


def scaled(stack, **counts):
    """The stack of this session with so many instances of each service, once it is told to be up."""
    numbers = {replicas.variable(service): str(number) for service, number in counts.items()}
    base = int(stack.base_url().rpartition(":")[2])
    return compose_stack(stack.folder, PROJECT, base, COSTLAB_PROCESSES=PROCESSES, **numbers)


@pytest.fixture(scope="session")
def stack(tmp_path_factory, pytestconfig):
    """Up once for the session; two processes in every service, so that whatever must reach each process is seen to."""
    running = compose_stack(tmp_path_factory.mktemp("compose"), PROJECT, COSTLAB_PROCESSES=PROCESSES)
    running.down(volumes=True)  # of an interrupted run
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        running.up(lambda line: sys.stderr.write(f"\n  {line}"))
    yield running
    running.down(volumes=True)


@pytest.fixture
def control(stack):
    """Flags of the stack; every flag is back at its default when the test ends."""
    plane = Control(stack.internal_urls(), stack.token())
    yield plane
    plane.set_flags(dict.fromkeys(plane.flags()))


@pytest.fixture
def client(stack):
    return Client(stack.base_url())


@pytest.fixture
def containers(stack):
    """What the engine says about each running container of the stack, by service."""
    found = {}
    for identity in docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}").split():
        document = json.loads(docker("inspect", identity))[0]
        found[document["Config"]["Labels"]["com.docker.compose.service"]] = document
    return found


def docker(*arguments: str) -> str:
    """The output of a docker command that must succeed."""
    done = subprocess.run(["docker", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
