"""The bytes of a stored answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.cache_proxy.entry import Entry, pack, unpack

_NAMES = some.text("abcdefghijklmnopqrstuvwxyz-", min_size=1)
_VALUES = some.text(some.characters(min_codepoint=32, max_codepoint=255, exclude_categories=["Cc"]))
_TIMES = some.floats(min_value=0, max_value=4e9)


@given(
    some.builds(
        Entry,
        some.binary(min_size=8, max_size=8),
        _TIMES,
        _TIMES,
        _TIMES,
        _TIMES,
        some.integers(min_value=100, max_value=599),
        some.lists(some.tuples(_NAMES, _VALUES)),
        some.binary(),
    )
)
def test_what_is_packed_is_unpacked(entry):
    assert unpack(pack(entry)) == entry


@pytest.mark.parametrize("raw", [b"", b"x", b'{"version":1}', b"\x01" + b"\0" * 60, b"\x02" + b"\xff" * 60])
def test_bytes_that_are_no_entry_are_nothing(raw):
    assert unpack(raw) is None


def test_an_entry_cut_short_inside_its_headers_is_nothing():
    raw = pack(Entry(b"8 bytes.", 1.0, 1.0, 1.0, 1.0, 200, [("content-type", "text/plain")], b""))
    assert unpack(raw[:-1]) is None


def test_age_is_never_negative_whatever_two_clocks_say():
    assert Entry(b"8 bytes.", 1000.0, 30.0, 30.0, 0.0, 200, [], b"").age(999.0) == 0.0
