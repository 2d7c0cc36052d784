"""What tests stand on: a real PostgreSQL and a real Redis of their own, and flags without a stack."""

import pytest

from costlab.service.flags import Registry


class FixedFlags:
    """Flags with given values and nobody to follow."""

    def __init__(self, values):
        self._values = Registry.load().defaults() | values

    def __getitem__(self, name):
        return self._values[name]


@pytest.fixture
def set_flags():
    """``set_flags(**{"http.breaker": "breaker"})``: those values, the rest at their defaults."""
    return lambda **values: FixedFlags(Registry.load().parse(values))
