"""A run as it happens: time left, current block, live figures. A line per block where there is no terminal."""

import statistics
import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from costlab.lab import metrics, words
from costlab.lab.block import Block
from costlab.lab.effect import overall
from costlab.lab.experiment import Experiment, Form
from costlab.lab.plan import Planned

# Setting flags, the pause of the generator between settling and measuring, and the readings of a block.
_AROUND_SECONDS = 2.0
_SHOWN = {
    "db_queries_per_request": "queries/request",
    "p50_ms": "p50",
    "p95_ms": "p95",
    "cpu_ms_per_request": "CPU",
}
_PHASES = {"settle": "settling", "measure": "measuring"}
_COUNTED = ("answered", "failed", "dropped")


class Progress:
    """Listens to a run and draws it."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._experiment: Experiment | None = None
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._draw)

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def begun(self, experiment: Experiment, form: Form) -> None:
        """A run begins, or goes on."""
        self._experiment = experiment
        self._names = max(map(len, experiment.names()))
        self._guess = form.settle_seconds + form.block_seconds + _AROUND_SECONDS
        self._blocks: list[Block] = []
        self._took: list[float] = []
        self._place, self._total, self._share = 0, 1, 0.0
        self._planned: Planned | None = None
        self._facts: dict = {}

    def started(self, place: int, blocks: int, planned: Planned) -> None:
        """A block begins."""
        self._place, self._total, self._planned, self._share, self._facts = place, blocks, planned, 0.0, {}
        self._started = self._clock()

    def progressed(self, share: float, facts: dict) -> None:
        """A share of the block is over."""
        self._share, self._facts = share, facts

    def finished(self, block: Block) -> None:
        """A block is over: its line stays."""
        self._blocks.append(block)
        self._share = 1.0
        self._took.append(self._clock() - self._started)
        self._console.print(f"block {self._place}/{self._total}  {self._line(block)}", highlight=False, soft_wrap=True)

    def seconds_left(self) -> float:
        """By what the blocks have taken, restarts and repeats included; before the first ends, by their lengths."""
        each = statistics.fmean(self._took) if self._took else self._guess
        return max(0.0, each * (self._total - self._place + 1 - self._share))

    def said(self, text: str) -> None:
        """Something a person should know."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def _line(self, block: Block) -> str:
        figures = " · ".join(self._figures([block]))
        broken = [guard.name for guard in block.guards if guard.kept is False]
        note = f" · broken: {', '.join(broken)}" if broken else ""
        return f"round {block.round} {block.variant:<{self._names}} {figures}{note}"

    def _figures(self, blocks: list[Block]) -> list[str]:
        without = self._experiment.variants[blocks[0].variant].without
        return [
            f"{short} {words.figure(name, overall(metrics.named(name), blocks, without))}"
            for name, short in _SHOWN.items()
        ]

    def _draw(self) -> Group:
        if self._experiment is None or self._planned is None:
            return Group(Text("getting ready"))
        share = (self._place - 1 + self._share) / self._total
        bar = Table.grid(padding=(0, 2))
        bar.add_row(ProgressBar(total=1.0, completed=share, width=40), f"about {_time(self.seconds_left())} left")
        lines = [self._now()]
        for variant in self._experiment.names():
            if blocks := [block for block in self._blocks if block.variant == variant]:
                lines.append(f"{variant} so far: {' · '.join(self._figures(blocks))}")
        return Group(bar, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))

    def _now(self) -> str:
        counted = ", ".join(f"{self._facts[name]} {name}" for name in _COUNTED if name in self._facts)
        phase = _PHASES.get(self._facts.get("phase", ""), "setting the state")
        now = f"block {self._place}/{self._total}: round {self._planned.round}, {self._planned.variant}, {phase}"
        return f"{now}: {counted}" if counted else now


def _time(seconds: float) -> str:
    """75 is 1 min 15 s."""
    return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s" if seconds >= 60 else f"{seconds:.0f} s"
