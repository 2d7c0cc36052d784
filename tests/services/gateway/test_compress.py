"""Compression at the gateway: who gets it, of what, and what the answer then says about itself."""

import gzip
import json
import threading

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from costlab.service import metrics
from costlab.service.flags import Registry
from gateway.compress import _CODINGS, SMALLEST, accepts, compressed, without_body

JSON = ("content-type", "application/json")
PAGE = json.dumps([{"id": number, "status": "placed"} for number in range(200)]).encode()
DECODE = {"gzip": gzip.decompress, "zstd": zstandard.decompress}
CODINGS = pytest.mark.parametrize("coding", DECODE)


def answer(body=PAGE, *headers):
    return [JSON, *headers, ("Content-Length", str(len(body)))], body


def test_the_flag_and_the_codings_have_the_same_names():
    assert set(Registry.load()["gateway.compress"].values) - {"off"} == set(_CODINGS)


@CODINGS
@given(body=st.one_of(st.binary(max_size=4000), st.text(max_size=4000).map(str.encode), st.just(PAGE * 20)))
def test_what_leaves_is_never_larger_and_decodes_to_what_came(coding, body):
    headers, sent = compressed(coding, coding, *answer(body))
    named = {name.lower(): value for name, value in headers}
    assert int(named["content-length"]) == len(sent) <= len(body)
    assert (DECODE[coding](sent) if "content-encoding" in named else sent) == body
    assert named.get("content-encoding", coding) == coding


@CODINGS
def test_a_page_shrinks_and_says_how_it_is_coded(coding):
    headers, sent = compressed(coding, coding, *answer(PAGE, ("etag", '"v1"')))
    assert len(sent) < len(PAGE) / 3
    assert headers == [
        JSON,
        ("etag", 'W/"v1"'),
        ("Content-Length", str(len(sent))),
        ("Vary", "Accept-Encoding"),
        ("Content-Encoding", coding),
    ]


@pytest.mark.parametrize(
    ("accept", "allowed"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("deflate, gzip;q=0.5, br", True),
        ("gzip ; q=0.001", True),
        ("*", True),
        ("br, *;q=0.1", True),
        ("identity;q=0.5, gzip", True),
        ("identity;q=0.5, gzip;q=0.5", True),
        ("gzip, identity;q=0", True),
        ("", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("*, gzip;q=0", False),
        ("*;q=0", False),
        ("identity", False),
        ("identity, gzip;q=0.5", False),
        ("gzip;q=2", False),
        ("gzip;q=x", False),
        ("gzip;level=9", False),
        ("gzipped", False),
    ],
)
def test_a_coding_is_used_only_when_the_client_wants_it(accept, allowed):
    assert accepts(accept, "gzip") == allowed


@given(st.text(max_size=60))
def test_no_header_makes_negotiation_fail(accept):
    assert accepts(accept, "zstd") in (True, False)


@pytest.mark.parametrize(
    "given_answer",
    [
        answer(b"x" * (SMALLEST - 1)),
        ([("content-type", "image/png"), ("Content-Length", str(len(PAGE)))], PAGE),
        ([("Content-Length", str(len(PAGE)))], PAGE),
        answer(PAGE, ("content-encoding", "br")),
        answer(PAGE, ("content-range", "bytes 0-9/100")),
        answer(PAGE, ("cache-control", "public, no-transform")),
    ],
    ids=["small", "image", "untyped", "coded", "part", "no-transform"],
)
def test_what_is_not_worth_it_or_not_ours_to_change_stays_as_it_is(given_answer):
    assert compressed("gzip", "gzip", *given_answer) == given_answer


def test_a_client_that_reads_neither_gets_plain_bytes_and_caches_learn_that_it_depends():
    headers, sent = compressed("zstd", "gzip", *answer(PAGE, ("etag", '"v1"')))
    assert sent == PAGE
    assert headers == [*answer(PAGE, ("etag", '"v1"'))[0], ("Vary", "Accept-Encoding")]


@pytest.mark.parametrize(
    ("vary", "lines"),
    [("Origin", ["Origin", "Accept-Encoding"]), ("origin, accept-encoding", ["origin, accept-encoding"]), ("*", ["*"])],
)
def test_vary_keeps_what_it_said_and_says_nothing_twice(vary, lines):
    headers, _ = compressed("gzip", "gzip", *answer(PAGE, ("vary", vary)))
    assert [value for name, value in headers if name.lower() == "vary"] == lines


def test_a_weak_etag_stays_weak_and_ranges_are_not_offered_of_a_compressed_answer():
    headers, _ = compressed("gzip", "gzip", *answer(PAGE, ("etag", 'W/"v1"'), ("accept-ranges", "bytes")))
    assert ("etag", 'W/"v1"') in headers
    assert "accept-ranges" not in dict(headers)


@CODINGS
@pytest.mark.parametrize("accept", ["gzip, zstd", ""])
def test_head_is_told_what_the_get_is_told_but_for_what_only_compressing_shows(coding, accept):
    headers, body = answer(PAGE, ("etag", '"v1"'), ("accept-ranges", "bytes"))
    get = compressed(coding, accept, headers, body)[0]
    unknown = {"Content-Length", "Content-Encoding"} if accept else set()
    assert without_body(coding, accept, headers) == [(name, value) for name, value in get if name not in unknown]


@pytest.mark.parametrize(
    "headers",
    [
        [JSON],
        [JSON, ("Content-Length", str(SMALLEST - 1))],
        [JSON, ("Content-Length", "")],
        [("content-type", "image/png"), ("Content-Length", str(SMALLEST))],
        [JSON, ("content-encoding", "br"), ("Content-Length", str(SMALLEST))],
    ],
    ids=["undeclared", "small", "empty", "image", "coded"],
)
def test_head_of_what_would_stay_as_it_is_stays_as_it_is(headers):
    assert without_body("gzip", "gzip", headers) == headers


def test_many_threads_compress_at_once():
    """A zstd compressor serves one thread; each has its own."""
    bodies = [PAGE + str(number).encode() * 100 for number in range(16)]
    results = {}

    def work(body):
        for _ in range(50):
            results[body] = compressed("zstd", "zstd", *answer(body))[1]

    threads = [threading.Thread(target=work, args=[body]) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(zstandard.decompress(results[body]) == body for body in bodies)


def test_bytes_before_and_after_and_the_cpu_time_are_counted():
    def bytes_of(side):
        return metrics.REGISTRY.get_sample_value("costlab_compress_bytes_total", {"coding": "gzip", "side": side}) or 0

    def cpu():
        return metrics.REGISTRY.get_sample_value("costlab_compress_cpu_seconds_total", {"coding": "gzip"}) or 0

    before, after, spent = bytes_of("before"), bytes_of("after"), cpu()
    _, sent = compressed("gzip", "gzip", *answer())
    assert (bytes_of("before"), bytes_of("after")) == (before + len(PAGE), after + len(sent))
    assert cpu() > spent
