"""What is counted in one process, on containers of one process each; and the flags that take a restart.

A limit on what is under way, a slot pool, a profile or a pool of consumers belongs to its process, and exact counts are
those of one; so these have a stack of their own. What must reach each of several processes is in test_as_local.py.
"""

import pytest

from tests.compose.conftest import ENABLED, NEEDS_ENGINE, PROJECT, START_SECONDS, compose_stack

if not ENABLED:
    pytest.skip(NEEDS_ENGINE, allow_module_level=True)

from tests.e2e.test_effects_compress import *  # noqa: F403 - after the skip; every test of that file
from tests.e2e.test_effects_hedge import *  # noqa: F403
from tests.e2e.test_effects_limits import *  # noqa: F403
from tests.e2e.test_effects_probe import *  # noqa: F403
from tests.e2e.test_effects_profiling import *  # noqa: F403
from tests.e2e.test_effects_service import *  # noqa: F403
from tests.e2e.test_effects_shed import *  # noqa: F403
from tests.e2e.test_effects_slots import *  # noqa: F403
from tests.e2e.test_effects_worker import *  # noqa: F403

pytestmark = [pytest.mark.timeout(START_SECONDS), pytest.mark.usefixtures("control")]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Up while these tests run."""
    running = compose_stack(tmp_path_factory.mktemp("one-process"), f"{PROJECT}-one")
    running.down(volumes=True)  # of an interrupted run
    running.up(lambda line: None)
    yield running
    running.down(volumes=True)
