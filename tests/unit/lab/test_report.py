"""The report: from the result file alone, byte for byte, and nothing in it that could run as script."""

import io
import json
import re
import shutil
import subprocess

import pytest
from rich.console import Console

from costlab.lab import charts, report, result, table
from costlab.lab.block import FaultSeen
from costlab.lab.catalogue import ROOT
from costlab.lab.conclusion import conclude
from costlab.lab.pricing import quantities
from tests.unit.lab import synthetic
from tests.unit.lab.test_pricing import GIVEN, USED


@pytest.fixture
def made():
    blocks = synthetic.rounds(3, ttl={"queries": 700})
    return synthetic.result(blocks, conclude(synthetic.day_11(), blocks, 7, quick=True))


def figures_of(page):
    return json.loads(re.search(r'<script id="figures" type="application/json">(.*?)</script>', page, re.DOTALL)[1])


def test_the_same_result_gives_the_same_bytes(made, tmp_path):
    result.save(made, tmp_path / "result.json")
    report.write(made, tmp_path / "first.html")
    report.write(result.load(tmp_path / "result.json"), tmp_path / "second.html")
    assert (tmp_path / "first.html").read_bytes() == (tmp_path / "second.html").read_bytes()


def test_reports_of_a_folder_share_one_script_and_need_no_network(made, tmp_path):
    report.write(made, tmp_path / "first.html")
    report.write(made, tmp_path / "second.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.html", "plotly.min.js", "second.html"]
    page = (tmp_path / "first.html").read_text()
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["plotly.min.js"]


def test_question_verdict_bill_guards_and_machine_are_in_it(made):
    page = report.render(made)
    for text in (made.experiment.question, "CONFIRMED", "cache node", "machine time in use", "a processor", "--seed 7"):
        assert text in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "costlab run 11 --quick --rounds 4 --seed 7"),
        (
            {"quick": False, "given_flags": {"cache.ttl": 60.0}, "generator": "open-model"},
            "costlab run 11 --rounds 4 --seed 7 --set=cache.ttl=60.0 --generator=open-model",
        ),
        ({"twins": True}, "costlab run 11 --quick --noise --rounds 8 --seed 7"),
        (
            {"environment": synthetic.environment().model_copy(update={"target": "compose"})},
            "costlab run 11 --quick --rounds 4 --seed 7 --target=compose",
        ),
    ],
)
def test_the_command_to_run_it_again_says_all_that_was_asked_for(made, changes, said):
    assert f"<td >{said}</td>" in report.render(made.model_copy(update=changes)).replace('<td class="">', "<td >")


def test_a_full_form_cut_short_is_not_called_full(made):
    full = made.model_copy(update={"quick": False, "form": made.experiment.rounds})
    assert "full form: 10 rounds" in report.render(full)
    short = full.model_copy(update={"form": full.form.model_copy(update={"count": 2})})
    assert "shortened form: 2 rounds" in report.render(short)


def test_every_chart_has_its_place(made):
    page = report.render(made)
    names = figures_of(page)
    expected = {"rounds", "effects0", "distribution", "tail", "series", "cpu", "parts", "cost", "sensitivity"}
    assert set(names) == expected
    assert all(f'<div id="{name}"></div>' in page for name in names)


def test_faults_are_marked_where_they_were_in_force(made):
    broken = [FaultSeen(fault="latency", on="orders", edge="postgres", at=2.0, until=5.0)]
    blocks = [block.model_copy(update={"faults": broken}) for block in made.blocks]
    layout = figures_of(report.render(made.model_copy(update={"blocks": blocks})))["series"]["layout"]
    start = min(block.started_at for block in blocks)
    expected = [(b.started_at - start + 2, b.started_at - start + 5) for b in blocks]
    assert [(shape["x0"], shape["x1"]) for shape in layout["shapes"]] == expected
    assert [label["text"] for label in layout["annotations"]] == ["latency on orders postgres"]


def test_without_a_fault_nothing_is_marked(made):
    assert "shapes" not in figures_of(report.render(made))["series"]["layout"]


def test_the_noise_floor_is_shown_and_moves_the_line_of_what_matters(made):
    timed = made.experiment.model_copy(
        update={"primary": made.experiment.primary.model_copy(update={"metric": "p50_ms"})}
    )
    noise = result.Noise(measured="2026-01-02T01:00:00Z", rounds=5, block_seconds=7, floors={"p50_ms": 0.25})
    page = report.render(made.model_copy(update={"experiment": timed, "noise": noise}))
    assert "25.0 %" in page
    shapes = figures_of(page)["rounds"]["layout"]["shapes"]
    assert [shape["y0"] for shape in shapes[:2]] == pytest.approx([25, -20])
    assert "This is an A/A run" in report.render(made.model_copy(update={"twins": True}))


def test_without_a_noise_floor_it_says_that_none_holds_and_why_if_that_is_known(made):
    page = report.render(made)
    assert (
        "No noise floor holds for this run: there was no unspoilt A/A run of its date and conditions. The thr" in page
    )
    spoilt = made.model_copy(update={"no_floor": "the A/A run was spoilt (<b>)"})
    assert "No noise floor holds for this run: the A/A run was spoilt (&lt;b&gt;). " in report.render(spoilt)


def test_every_round_has_its_bar_between_the_ends_of_the_axis(made):
    figure = figures_of(report.render(made))["rounds"]
    assert figure["data"][0]["y"] == pytest.approx([-30.0] * 3)
    low, high = figure["layout"]["yaxis"]["range"]
    assert low < -30 < 5 < high


def test_the_tail_begins_with_all_requests_and_ends_with_the_slowest(made):
    for line in figures_of(report.render(made))["tail"]["data"]:
        assert line["y"][0] == 100
        assert min(line["y"]) > 0


def test_the_parts_of_the_bill_add_up_to_its_total(made):
    parts = figures_of(report.render(made))["parts"]["data"]
    for i, name in enumerate(made.experiment.names()):
        assert sum(part["x"][i] for part in parts) == pytest.approx(made.conclusion.bill.variants[name].usd)


def test_every_row_of_a_bill_has_a_colour_of_its_own():
    purposes = [purpose for purpose, _, _ in quantities(USED, GIVEN).values()]
    assert set(purposes) == set(charts._ROW_COLOURS)
    assert len(set(charts._ROW_COLOURS.values())) == len(purposes)


def test_old_results_have_a_report_too():
    for path in sorted((ROOT / "benchmarks").glob("[0-9][0-9]-*/*.json")):
        stored = result.load(path)
        assert stored.experiment.title in report.render(stored)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here to look at a page with")
def test_a_browser_draws_every_chart_and_complains_of_nothing(made, tmp_path):
    report.write(made, tmp_path / "report.html")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    command += [
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
        "--dump-dom",
        f"file://{tmp_path}/report.html",
    ]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert [line for line in seen.stderr.splitlines() if ":CONSOLE" in line] == []
    for name in figures_of(report.render(made)):
        assert re.search(rf'<div id="{name}" class="js-plotly-plot"', seen.stdout), name


def test_text_from_files_cannot_become_markup(made):
    evil = made.experiment.model_copy(update={"question": "</script><script>alert(1)</script>"})
    page = report.render(made.model_copy(update={"experiment": evil}))
    assert "<script>alert" not in page
    assert "select &lt;b&gt; from users" in page


EVIL = "</script><script>alert(1)</script><i>"
WORDS = (
    *("2026-01-02T03:04:05Z", "11-caching", "Caching", "off", "ttl", "costlab open-model", "gateway", "postgres"),
    *("users", "latency", "select <b> from users", "a processor", "Linux", "6", "3.11.7", "0.1.0", "local", "c0ffee"),
    *("pss", "loadtests/traffic/browse.json", "2026-01-02T01:00:00Z", "cache node"),
)


def test_no_word_of_a_result_is_markup_not_even_in_a_chart(made):
    seen = [FaultSeen(fault="latency", on="orders", at=2.0, until=5.0)]
    noise = result.Noise(measured="2026-01-02T01:00:00Z", rounds=5, block_seconds=7, floors={"p50_ms": 0.25})
    update = {"noise": noise, "blocks": [block.model_copy(update={"faults": seen}) for block in made.blocks]}
    text = made.model_copy(update=update).model_dump_json()
    for word in WORDS:
        assert f'"{word}"' in text
        text = text.replace(f'"{word}"', f'"{word}{EVIL}"')
    page = report.render(result.Result.model_validate_json(text))
    assert page.count("<script") == report.render(made).count("<script")
    assert "<i>" not in page
    assert "<" not in json.dumps(figures_of(page))


def test_a_name_with_a_tag_is_the_same_name_to_plotly(made):
    text = made.model_dump_json().replace('"ttl"', '"a <b> & c"')
    figures = figures_of(report.render(result.Result.model_validate_json(text)))
    assert [line["name"] for line in figures["tail"]["data"]] == ["off", "a &lt;b&gt; &amp; c"]


@pytest.mark.parametrize("blocks", [[], [synthetic.block(1, "off")]], ids=["no block", "half a round"])
def test_an_interrupted_run_has_a_report_too(blocks):
    page = report.render(synthetic.result(blocks, status="interrupted"))
    assert "This run was interrupted." in page


def test_a_terminal_shows_table_verdict_and_bill(made):
    console = Console(file=io.StringIO(), width=100)
    table.show(made, console)
    text = console.file.getvalue()
    for expected in ("database queries/request", "-30.0 %", "CONFIRMED", "It costs", "cache node", "total"):
        assert expected in text
