"""What holds for the local stack holds in containers: the same tests, on the ``stack`` of this folder."""

import pytest

from tests.compose.conftest import ENABLED, NEEDS_ENGINE

if not ENABLED:
    pytest.skip(NEEDS_ENGINE, allow_module_level=True)

from tests.e2e.test_crash_safety import *  # noqa: F403 - after the skip; every test of that file
from tests.e2e.test_effects import *  # noqa: F403
from tests.e2e.test_effects_cache import *  # noqa: F403
from tests.e2e.test_effects_client import *  # noqa: F403
from tests.e2e.test_effects_config import *  # noqa: F403
from tests.e2e.test_effects_orders import *  # noqa: F403
from tests.e2e.test_faults import *  # noqa: F403
from tests.e2e.test_input_faults import *  # noqa: F403
