"""The suite itself."""

import pytest


def test_in_several_processes_tests_are_grouped_by_what_they_share(request: pytest.FixtureRequest):
    """Ungrouped, each process would start each stack: nothing fails, and all takes twice as long."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("runs under -n")
    assert request.node.nodeid.endswith("@structure/test_suite.py")
