"""The table of days in the README and the outcomes in the lessons are what the stored results say."""

from costlab.lab import generated, tracker


def test_readme_and_lessons_say_what_the_stored_results_say():
    for file, text in generated.documents(tracker.lines()):
        assert file.read_text() == text, f"{file.name} differs from benchmarks/: run `costlab days --write`"
