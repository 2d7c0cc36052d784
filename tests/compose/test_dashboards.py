"""Compose's own Prometheus, with its own pace and addresses: every query returns data there too.

`make test-dashboards-compose` runs this.
"""

import pytest

from costlab.stack.control import Control
from tests.compose.conftest import ENABLED, NEEDS_ENGINE, PROJECT, START_SECONDS, compose_stack
from tests.e2e.conftest import Client
from tests.e2e.prometheus import Prometheus

if not ENABLED:
    pytest.skip(NEEDS_ENGINE, allow_module_level=True)

from tests.e2e.test_dashboards import *  # noqa: F403 - after the skip; every test of that file
from tests.e2e.test_dashboards import asked_for, drive

pytestmark = [asked_for, pytest.mark.timeout(2 * START_SECONDS)]


@pytest.fixture(scope="module")
def replicated_stack(tmp_path_factory):
    """With three instances of users; up while these tests run."""
    running = compose_stack(tmp_path_factory.mktemp("seen"), f"{PROJECT}-seen", COSTLAB_USERS_REPLICAS="3")
    running.down(volumes=True)  # of an interrupted run
    running.up(lambda line: None)
    yield running
    running.down(volumes=True)


@pytest.fixture(scope="module")
def prometheus(replicated_stack):
    """The one in the container, while the stack is driven through every phase."""
    row = next((row for row in replicated_stack.status() if row.name == "prometheus"), None)
    if row is None:
        pytest.skip("prometheus was left out by COSTLAB_WITHOUT")
    running = Prometheus(row.url)
    drive(replicated_stack, running)
    return running


@pytest.fixture
def replicated_control(replicated_stack):
    """Its flags; every flag is back at its default when the test ends."""
    plane = Control(replicated_stack.internal_urls(), replicated_stack.token())
    yield plane
    plane.set_flags(dict.fromkeys(plane.flags()))


@pytest.fixture
def replicated_client(replicated_stack):
    return Client(replicated_stack.base_url())
