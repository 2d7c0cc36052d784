"""How k6's CSV output becomes samples; needs no k6."""

import pytest

from costlab.lab.load.k6_samples import Tally, read_samples, slots_of

NAMES = ["product_page", "user_profile"]
HEADER = "metric_name,timestamp,metric_value,name,scenario,status,extra_tags,metadata"
START = 1_700_000_000.0004  # as exact as k6 keeps it; it tells only 1_700_000_000.000


def request_rows(index: int, left: float, took: float, status: int = 200, scenario: str = "measure") -> list[str]:
    """What k6 writes of a request sent `left` seconds after the start."""
    end = f"{(START + left + took) * 1e9:.0f}"
    rest = f"user_profile,{scenario},{status},,index={index}"
    return [
        f"http_reqs,{end},1.000000,{rest}",
        f"http_req_duration,{end},{took * 1000 - 0.2:f},{rest}",
        f"http_req_blocked,{end},0.100000,{rest}",
        f"http_req_connecting,{end},0.100000,{rest}",
        f"data_received,{end},98.000000,,{scenario},,,index={index}",
    ]


@pytest.fixture
def read(tmp_path):
    """read(rows): start and samples of those rows at 10 per second, 5 planned."""

    def read_rows(*rows: list[str]):
        path = tmp_path / "samples.csv"
        path.write_text("\n".join([HEADER, *(line for group in rows for line in group)]) + "\n")
        return read_samples(path, NAMES, rate=10, planned=5, earliest=1_700_000_000.0)

    return read_rows


def test_latency_counts_from_the_planned_time_even_if_k6_sent_late(read):
    """Slot 1 was due at 0.1 s; k6 sent it at 0.15 s and had the answer 20 ms later: 70 ms."""
    start, samples = read(request_rows(0, left=0.0, took=0.02), request_rows(1, left=0.15, took=0.02))
    assert start == pytest.approx(START, abs=1e-5)
    assert samples["planned_at"].tolist() == [0.0, 0.1]
    assert samples["latency"] == pytest.approx([0.02, 0.07], abs=1e-5)


def test_name_status_and_bytes_are_kept(read):
    _, samples = read(request_rows(0, 0.0, 0.02), request_rows(1, 0.1, 0.02, status=0))
    assert samples["status"].tolist() == [200, 0]
    assert [NAMES[i] for i in samples["request"]] == ["user_profile", "user_profile"]
    assert samples["bytes"].tolist() == [98, 98]


def test_the_settle_scenario_is_left_out(read):
    _, samples = read(request_rows(0, 0.0, 0.02, scenario="settle"), request_rows(0, 0.0, 0.03))
    assert samples["latency"] == pytest.approx([0.03], abs=1e-5)


def test_slots_beyond_the_planned_ones_are_left_out(read):
    _, samples = read(*(request_rows(i, i / 10, 0.02) for i in range(7)))
    assert len(samples) == 5


def test_an_iteration_that_sent_nothing_is_no_request(read):
    """k6 runs one more where a stretch is shorter than the second it insists on; a fresh virtual user has no number."""
    _, samples = read(request_rows(0, 0.0, 0.02), [f"data_received,{START * 1e9:.0f},0.000000,,measure,,,"])
    assert len(samples) == 1


def test_the_start_stays_within_the_millisecond_that_k6_told(read):
    """The first request of a busy k6 left 30 ms late: the start is not moved there."""
    start, samples = read(request_rows(0, left=0.03, took=0.02))
    assert start == pytest.approx(1_700_000_000.001, abs=1e-5)
    assert samples["latency"] == pytest.approx([0.0494], abs=1e-4)


def test_a_file_without_requests_gives_no_samples(read):
    start, samples = read([f"dropped_iterations,{START * 1e9:.0f},1.000000,,measure,,,"])
    assert (start, len(samples)) == (1_700_000_000.0, 0)


def test_dropped_iterations_shift_the_slots_of_those_after_them():
    """k6 numbers only the iterations it ran: with the slot at 0.2 s dropped, iteration 2 was due at 0.3 s."""
    assert slots_of({0: 0.0, 1: 0.1, 2: 0.3, 3: 0.4}, drops=[0.2]) == {0: 0, 1: 1, 2: 3, 3: 4}
    assert slots_of({0: 0.0, 1: 0.1}, drops=[]) == {0: 0, 1: 1}


def test_what_k6_has_written_so_far_is_counted_by_stretch_line_by_whole_line(tmp_path):
    path = tmp_path / "samples.csv"
    tally = Tally(path)
    assert tally.of("settle") == {"answered": 0, "failed": 0, "dropped": 0}
    rows = request_rows(0, 0.0, 0.02, scenario="settle") + request_rows(0, 0.1, 0.02) + request_rows(1, 0.2, 0.02, 503)
    rows += [*request_rows(2, 0.3, 10.0, status=0), f"dropped_iterations,{START * 1e9:.0f},1.000000,,measure,,,"]
    text = "\n".join([HEADER, *rows]) + "\n"
    path.write_text(text[:-20])
    assert tally.of("settle") == {"answered": 1, "failed": 0, "dropped": 0}
    assert tally.of("measure") == {"answered": 3, "failed": 2, "dropped": 0}
    path.write_text(text)
    assert tally.of("measure") == {"answered": 3, "failed": 2, "dropped": 1}
