"""Variables in docker-compose.yml mean here what they mean to Compose."""

import pytest

from costlab.stack import StackError
from costlab.stack.interpolation import interpolate

SET = {"NAME": "value", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${NAME}", "value"),
        ("$NAME/path", "value/path"),
        ("a-${NAME}-b", "a-value-b"),
        ("${NAME:-other}", "value"),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY-other}", ""),
        ("${UNSET:-other}", "other"),
        ("${UNSET-http://jaeger:4318}", "http://jaeger:4318"),
        ("${UNSET}", ""),
        ("${UNSET:-}", ""),
        ("${NAME:?needed}", "value"),
        ("$$NAME", "$NAME"),
        ("100 %", "100 %"),
    ],
)
def test_a_variable_is_filled_in_as_compose_does(text, expected):
    assert interpolate(text, SET) == expected


def test_strings_at_any_depth_are_filled_in_and_everything_else_is_kept():
    document = {"a": ["$NAME", 1, True, None], "b": {"c": "${UNSET:-x}"}}
    assert interpolate(document, SET) == {"a": ["value", 1, True, None], "b": {"c": "x"}}


@pytest.mark.parametrize("text", ["${EMPTY:?say why}", "${UNSET?say why}"])
def test_a_required_variable_that_is_missing_is_named_with_its_reason(text):
    with pytest.raises(StackError, match=r"(EMPTY|UNSET) must be set: say why"):
        interpolate(text, SET)


@pytest.mark.parametrize("text", ["costs 5$", "${", "${NAME:+x}", "${1}"])
def test_a_dollar_sign_that_starts_no_variable_is_refused(text):
    with pytest.raises(StackError, match=r"\$\$ writes a dollar sign"):
        interpolate(text, SET)
