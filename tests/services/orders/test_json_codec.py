"""JSON codecs: whichever writes an answer, a client reads the same."""

import json
import math
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders.rows import iso
from tests.structure.source import ROOT

CODECS = ("stdlib", "orjson", "msgspec")
TEXT = st.text(st.characters(codec="utf-8"))
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126))
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


def encode(codec, document):
    return import_module(f"services.orders.json_codec.{codec}").encode(document)


@given(document=DOCUMENTS)
def test_what_each_writes_is_read_as_what_went_in(document):
    assert [json.loads(encode(codec, document)) for codec in CODECS] == [document] * 3


@given(document=st.dictionaries(PRINTABLE, st.lists(INTEGERS | PRINTABLE)))
def test_each_writes_as_many_bytes_so_the_wire_is_no_difference_between_them(document):
    assert len({len(encode(codec, document)) for codec in CODECS}) == 1


def test_none_writes_what_json_does_not_have():
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode("stdlib", {"mean": math.nan})
    assert encode("orjson", math.nan) == encode("msgspec", math.nan) == b"null"


@given(time=st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)))
def test_a_time_is_written_in_rfc_3339(database, time):
    written = database.one("select (%s::timestamptz at time zone 'UTC')::text || '+00'", time.replace(tzinfo=UTC))
    assert datetime.fromisoformat(iso(written)) == time.replace(tzinfo=UTC)
    assert iso(written) == time.replace(tzinfo=UTC).isoformat()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "path", ["/products/4711", "/orders/9", "/users/1/orders", "/orders/stats", "/users/10001/orders"]
)
def test_every_answer_is_the_same_document(client, set_flag, codec, path):
    before = client.get(path)
    set_flag("orders.json", codec)
    after = client.get(path)
    assert (after.status_code, after.content_type) == (200, "application/json")
    assert after.json == before.json
    assert int(after.headers["Content-Length"]) == len(after.data)


def test_a_refusal_is_a_problem_document_whatever_writes_answers(client, set_flag):
    set_flag("orders.json", "msgspec")
    assert client.get("/orders/0").content_type == "application/problem+json"


def test_what_only_one_value_of_a_flag_needs_is_imported_when_that_is_asked_for():
    program = "import sys, services.orders.app; print({'msgspec', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True) == "set()\n"
