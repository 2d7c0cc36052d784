"""The report: from the result file alone, byte for byte, and nothing in it that could run as script."""

import io
import json
import re

import pytest
from rich.console import Console

from costlab.lab import report, result, table
from costlab.lab.conclusion import conclude
from tests.unit.lab import synthetic


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


def test_every_chart_has_its_place(made):
    page = report.render(made)
    names = figures_of(page)
    assert set(names) == {"effects0", "distribution", "series", "cpu", "cost"}
    assert all(f'<div id="{name}"></div>' in page for name in names)


def test_text_from_files_cannot_become_markup(made):
    evil = made.experiment.model_copy(update={"question": "</script><script>alert(1)</script>"})
    page = report.render(made.model_copy(update={"experiment": evil}))
    assert "<script>alert" not in page
    assert "select &lt;b&gt; from users" in page


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
