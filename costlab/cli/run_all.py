"""``costlab run all``: every day in turn. One that fails does not keep the others from running.

What it was asked for stands in runs/all.json until every day has come to its end. ``run all --resume`` takes it from
there: days that are complete since then are taken as they are, unfinished ones are gone on with, the rest are run.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from costlab.cli.stored import readable
from costlab.failure import Failure
from costlab.lab import noise, result, words
from costlab.lab.catalogue import Day
from costlab.lab.errors import Interrupted, LabError
from costlab.lab.experiment import FlagValue
from costlab.lab.result import Result
from costlab.lab.session import Wish
from costlab.lab.together import Line, Outcome, summary
from costlab.lab.toml_file import Closed


class Asked(Closed):
    """What ``run all`` was asked for, and when: see Wish. ``only_noise``: the noise floors and nothing else."""

    started: str
    quick: bool
    rounds: int | None
    seed: int | None
    generator: str
    flags: dict[str, FlagValue]
    noise: bool | None
    only_noise: bool

    @classmethod
    def now(cls, wish: Wish, *, only_noise: bool) -> "Asked":
        """As of this moment."""
        return cls(started=result.now(), only_noise=only_noise, **vars(wish) | {"flags": dict(wish.flags)})

    @property
    def wish(self) -> Wish:
        """What each day is run with."""
        return Wish(**self.model_dump(exclude={"started", "only_noise"}))

    def latest(self, day: Day, runs: Path) -> Path | None:
        """The newest run of ``day`` that this one has begun: somebody may have run it otherwise in between."""
        folder = runs / noise.FOLDER if self.only_noise else runs
        first = result.path_for(day, self.started, folder).stem
        since = [path for path in folder.glob(f"{day.slug}/*.json") if path.stem >= first]
        for path, stored in readable(sorted(since, reverse=True)):
            if stored.started >= self.started and self._fits(stored):
                return path
        return None

    def _fits(self, stored: Result) -> bool:
        """Whether ``stored`` was run as was asked. What nobody asked for may be anything: the seed."""
        own = stored.experiment.form(self.quick)
        form = own if self.rounds is None else own.model_copy(update={"count": self.rounds})
        count = (noise.form(form) if self.only_noise else form).count
        as_asked = (stored.quick, stored.given_flags, stored.generator, stored.form.count)
        same_seed = self.seed is None or stored.seed == self.seed
        return same_seed and as_asked == (self.quick, self.flags, self.generator, count)


def remember(asked: Asked, runs: Path) -> None:
    """Keep what was asked for."""
    result.write_whole(_file(runs), asked.model_dump_json() + "\n")


def remembered(runs: Path) -> Asked:
    """What the last ``run all`` that did not come to its end was asked for."""
    try:
        return Asked.model_validate_json(_file(runs).read_text())
    except FileNotFoundError as error:
        raise LabError(f"no `costlab run all` is left unfinished in {runs}") from error
    except (OSError, ValueError) as error:
        raise LabError(f"{_file(runs)}: cannot be read; remove it and run all again") from error


def forget(runs: Path) -> None:
    """Every day has come to its end."""
    _file(runs).unlink(missing_ok=True)


def _file(runs: Path) -> Path:
    return runs / "all.json"


def run_all(days: Sequence[Day], run_one: Callable[[Day], Result], console: Console) -> bool:
    """Run ``days`` one after the other and print them together; whether all came to their end."""
    outcomes: list[Outcome] = []
    try:
        for day in days:
            console.rule(f"day {day.slug}", align="left")
            outcomes.append(_one(day, run_one, console))
    finally:
        if outcomes:
            console.print(_table(summary(outcomes)))
        for outcome in outcomes:
            if outcome.result is None:
                console.print(f"{outcome.day} failed: {outcome.failure}", style="red", highlight=False, soft_wrap=True)
    return all(outcome.result is not None for outcome in outcomes)


def _one(day: Day, run_one: Callable[[Day], Result], console: Console) -> Outcome:
    try:
        return Outcome(day.slug, run_one(day))
    except Interrupted:
        raise  # a person wants all of it to end
    except Failure as failure:
        console.print(f"{day.slug} failed: {failure}", style="red", highlight=False)
        return Outcome(day.slug, failure=str(failure))


def _table(lines: Sequence[Line]) -> Table:
    shown = Table("day", "primary metric", "change", "interval", "p", "verdict", box=box.SIMPLE_HEAD)
    for line in lines:
        effect = line.effect
        figures = ("-",) * 3
        if effect is not None:
            figures = (words.title(effect.metric), words.change(effect.ratio), words.span(effect))
        shown.add_row(line.day, *figures, "-" if line.p is None else f"{line.p:.2g}", line.verdict)
    shown.caption = "p is corrected for the number of days tested (Holm); counted metrics are not tested"
    return shown
