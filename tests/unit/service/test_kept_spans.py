"""A service keeps its newest spans, whichever of its processes made them, and never more than it may."""

import multiprocessing

import orjson
import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from costlab.service.kept_spans import REQUEST_ID, KeptSpans
from costlab.service.otlp import OtlpJsonExporter
from tests.unit.service.test_otlp import spans  # noqa: F401 - a fixture


def written(trace: int, number: int, request_id: str | None = None, ended: int = 0) -> bytes:
    attributes = [{"key": REQUEST_ID, "value": {"stringValue": request_id}}] if request_id else []
    names = {"traceId": f"{trace:032x}", "spanId": f"{number:016x}", "name": "GET", "endTimeUnixNano": str(ended)}
    return orjson.dumps(names | {"attributes": attributes})


@pytest.fixture
def kept(tmp_path):
    return KeptSpans(tmp_path)


def numbers(found: list[dict]) -> list[int]:
    return sorted(int(span["spanId"], 16) for span in found)


def test_spans_are_found_by_their_trace_or_a_request_in_it(kept):
    kept.add([written(1, 11, "mine"), written(1, 12), written(2, 21, "yours")])
    kept.add([written(1, 13)])
    assert numbers(kept.of(f"{1:032x}")) == numbers(kept.of("mine")) == [11, 12, 13]
    assert numbers(kept.of("yours")) == [21]
    assert kept.of("nobody") == []


def test_a_request_id_that_came_twice_names_both_traces(kept):
    kept.add([written(1, 11, "mine"), written(2, 21, "mine"), written(2, 22)])
    assert numbers(kept.of("mine")) == [11, 21, 22]


def test_an_id_is_a_whole_value_and_no_part_of_one(kept):
    kept.add([written(1, 11, "order-12")])
    assert kept.of("order-1") == kept.of("GET") == []


def test_nothing_kept_is_nothing_found(kept):
    assert kept.of("mine") == []
    assert kept.oldest() is None


def test_the_newest_are_kept_and_the_files_never_grow_beyond_the_limit(tmp_path):
    size = len(written(1, 10_000, "mine")) + 1
    kept = KeptSpans(tmp_path, limit=10 * size)
    for number in range(10_000, 10_100):
        kept.add([written(1, number, "mine", ended=number * 10**9)])
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 20 * size * 1.01
    found = numbers(kept.of("mine"))
    assert found == list(range(found[0], 10_100))
    assert 10 <= len(found) <= 20
    assert kept.oldest() == found[0]


def test_a_line_that_a_killed_process_left_without_an_end_harms_no_other(kept, tmp_path):
    kept.add([written(1, 11, "mine")])
    with (tmp_path / "spans.jsonl").open("ab") as file:
        file.write(b"\n" + written(1, 12, "mine")[:-5])
    kept.add([written(1, 13, "mine")])
    assert numbers(kept.of("mine")) == [11, 13]


def _keep(folder, first: int) -> None:
    kept = KeptSpans(folder, limit=5_000)
    for number in range(first, first + 100):
        kept.add([written(1, number, "mine")])


def test_processes_that_write_at_once_leave_only_whole_spans(tmp_path):
    fork = multiprocessing.get_context("spawn")
    writers = [fork.Process(target=_keep, args=(tmp_path, first)) for first in (1000, 2000)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    lines = [line for file in tmp_path.glob("spans*.jsonl") for line in file.read_bytes().splitlines() if line]
    assert lines
    assert all(orjson.loads(line)["name"] == "GET" for line in lines)


def test_the_exporter_keeps_what_it_sends_and_needs_no_collector(kept, spans):  # noqa: F811
    exporter = OtlpJsonExporter(None, kept)
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    exporter.shutdown()
    found = kept.of(f"{spans[0].context.trace_id:032x}")
    assert {span["name"] for span in found} == {"GET /api/users/{id}", "GET users"}


def test_a_disk_that_takes_nothing_costs_what_is_kept_and_nothing_else(tmp_path, spans):  # noqa: F811
    exporter = OtlpJsonExporter(None, KeptSpans(tmp_path / "missing"))
    assert exporter.export(spans) is SpanExportResult.SUCCESS
