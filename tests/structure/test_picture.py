"""The README's picture is drawn from a stored result, and from nothing else."""

from costlab.lab import result, table
from tests.structure.source import ROOT


def test_the_picture_in_the_readme_is_what_its_stored_result_draws():
    stored = result.load(ROOT / "benchmarks" / "11-caching" / "20261122T212656Z-quick.json")
    assert (ROOT / "docs" / "demo.svg").read_text() == table.picture(stored)
