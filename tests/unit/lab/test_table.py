"""The tables on a terminal."""

import io

from rich.console import Console

from costlab.lab import table
from costlab.lab.conclusion import conclude
from tests.unit.lab import synthetic


def test_figures_that_are_not_compared_leave_room_for_all_others_on_80_columns():
    """Their reason, a sentence, once stood in the last column and pushed every figure out of the table."""
    blocks = synthetic.rounds(3, ttl={"failed": 200})
    conclusion = conclude(synthetic.day_11(), blocks, 7, quick=False)
    out = io.StringIO()
    shown = table.before_and_after(synthetic.result(blocks, conclusion), conclusion, "ttl")
    Console(file=out, width=80).print(shown)
    [latency] = [line for line in out.getvalue().splitlines() if line.strip().startswith("latency p50")]
    assert latency.split()[3::2] == ["ms", "ms", "not"]
    assert latency.rstrip().endswith("not compared")
    assert "error rates differ (0.0 % before, 20.0 % after)" in out.getvalue()
