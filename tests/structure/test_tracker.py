"""The table of days in the README is what the stored results say."""

from costlab.lab import tracker
from tests.structure.source import ROOT


def test_the_table_in_the_readme_is_that_of_the_stored_results():
    readme = (ROOT / "README.md").read_text()
    said = "README.md differs from benchmarks/: run `costlab days --write`"
    assert readme == tracker.refreshed(readme, tracker.markdown(tracker.lines())), said
