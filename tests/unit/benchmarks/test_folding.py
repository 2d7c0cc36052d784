"""A function without a check: the same otherwise, and an error once the check is no longer there."""

import inspect

import pytest

from benchmarks.folding import folded
from benchmarks.off_mechanisms import MECHANISMS
from benchmarks.processes import BenchmarkError


class Base:
    def said(self) -> str:
        return "base"


class Example(Base):
    """What a mechanism's check looks like."""

    on = True

    def asks(self, value: int) -> str:
        mode = self.on
        if mode:
            return f"on {value}"
        return f"off {value}" if not self.on else "never"

    def enters(self) -> object:
        with open("/no/such/file") as span:
            if span is not None:
                return span.name
        return span

    def said(self) -> str:
        if self.on:
            return "checked"
        return super().said()


@pytest.fixture
def code():
    """``code(function, ...)``: the function with its folded code, until the test ends."""
    changed = []

    def change(function, *arguments, **options):
        changed.append((function, function.__code__))
        function.__code__ = folded(function, *arguments, **options)

    yield change
    for function, before in changed:
        function.__code__ = before


def test_a_test_that_is_decided_leaves_the_branch_it_leads_to(code):
    code(Example.asks, {"mode": False, "not self.on": True}, drop=("mode",))
    assert Example().asks(7) == "off 7"
    assert "mode" not in Example.asks.__code__.co_varnames


def test_what_a_with_would_enter_can_be_none(code):
    code(Example.enters, {"span is not None": False}, none=("span",))
    assert Example().enters() is None


def test_a_method_still_finds_its_super_class(code):
    code(Example.said, {"self.on": False})
    assert Example().said() == "base"


@pytest.mark.parametrize(
    ("tests", "drop", "none"), [({"self.off": True}, (), ()), ({}, ("gone",), ()), ({}, (), ("gone",))]
)
def test_a_check_that_is_not_there_is_an_error_and_not_another_benchmark(tests, drop, none):
    with pytest.raises(BenchmarkError, match=r"Example\.asks has no (self\.off|gone) any more"):
        folded(Example.asks, tests, drop, none)


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda mechanism: mechanism.name)
def test_each_mechanism_that_is_off_has_its_checks_where_the_benchmark_says(mechanism):
    """Whoever changes such a line learns of it here; the code without the check is shorter, and takes the same."""
    for check in mechanism.checks:
        function = inspect.unwrap(check.function)
        without = folded(check.function, check.tests, check.drop, check.none)
        assert len(without.co_code) < len(function.__code__.co_code)
        assert without.co_varnames[: without.co_argcount] == function.__code__.co_varnames[: without.co_argcount]
        assert without.co_freevars == function.__code__.co_freevars
