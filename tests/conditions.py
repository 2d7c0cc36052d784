"""Waiting in tests: on a condition, with a deadline, never for a time."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool], within: float = 20.0) -> None:
    """Return as soon as ``condition`` holds; fail when it does not hold ``within`` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not true within {within} s: {condition}"
        time.sleep(0.005)
