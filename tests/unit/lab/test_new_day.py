"""A new day runs as it stands, and takes nobody else's place."""

import pytest

from costlab.lab import experiment
from costlab.lab.catalogue import find
from costlab.lab.errors import LabError
from costlab.lab.new_day import new_day


@pytest.mark.parametrize("title", ["My idea", 'Say "when" \\ 100 % $title {x}', "  Zürich,\n twice!  "])
def test_a_new_day_is_a_complete_experiment_with_its_lesson(tmp_path, title):
    made = new_day(31, title, tmp_path)
    words = " ".join(title.split())
    assert experiment.load(made.file).title == words
    assert (made.folder / "README.md").read_text().startswith(f"# Day 31: {words}\n")
    assert find("31", tmp_path) == made


def test_its_folder_is_named_after_it(tmp_path):
    assert new_day(3, "My idea, twice!", tmp_path).slug == "03-my-idea-twice"


@pytest.mark.parametrize(("number", "title"), [(31, "Other"), (32, "my IDEA")])
def test_a_number_or_a_name_that_is_taken_is_refused_and_nothing_is_written(tmp_path, number, title):
    first = new_day(31, "My idea", tmp_path)
    with pytest.raises(LabError, match=r"is there already: .*31-my-idea"):
        new_day(number, title, tmp_path)
    assert list(tmp_path.iterdir()) == [first.folder]


@pytest.mark.parametrize(
    ("number", "title"), [(0, "a"), (100, "a"), (31, ""), (31, "!?"), (31, "a" * 61), (31, "a\x00b")]
)
def test_what_is_no_number_or_title_is_one_clear_error(tmp_path, number, title):
    with pytest.raises(LabError) as caught:
        new_day(number, title, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
