"""A run as it happens: time left, current block, live figures. A line per block where there is no terminal."""

import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from costlab.lab import metrics, words
from costlab.lab.block import Block
from costlab.lab.effect import overall
from costlab.lab.experiment import Experiment
from costlab.lab.plan import Planned

# Setting flags, the pause of the generator between settling and measuring, and the readings of a block.
_AROUND_SECONDS = 2.0
_SHOWN = {
    "db_queries_per_request": "queries/request",
    "p50_ms": "p50",
    "p95_ms": "p95",
    "cpu_ms_per_request": "CPU",
}
_COUNTED = ("answered", "failed", "dropped")


class Progress:
    """Listens to a run and draws it."""

    def __init__(self, console: Console, experiment: Experiment, block_seconds: float) -> None:
        self._console = console
        self._experiment = experiment
        self._block_seconds = block_seconds + _AROUND_SECONDS
        self._blocks: list[Block] = []
        self._place, self._total, self._share = 0, 1, 0.0
        self._planned: Planned | None = None
        self._facts: dict = {}
        self._began = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._draw)

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def started(self, place: int, blocks: int, planned: Planned) -> None:
        """A block begins."""
        self._place, self._total, self._planned, self._share, self._facts = place, blocks, planned, 0.0, {}

    def progressed(self, share: float, facts: dict) -> None:
        """A share of the block is over."""
        self._share, self._facts = share, facts

    def finished(self, block: Block) -> None:
        """A block is over: its line stays."""
        self._blocks.append(block)
        self._share = 1.0
        self._console.print(f"block {self._place}/{self._total}  {self._line(block)}", highlight=False)

    def said(self, text: str) -> None:
        """Something a person should know."""
        self._console.print(text, highlight=False)

    def _line(self, block: Block) -> str:
        figures = " · ".join(self._figures([block]))
        broken = [guard.name for guard in block.guards if guard.kept is False]
        note = f" · broken: {', '.join(broken)}" if broken else ""
        return f"round {block.round} {block.variant:<6} {figures}{note}"

    def _figures(self, blocks: list[Block]) -> list[str]:
        without = self._experiment.variants[blocks[0].variant].without
        return [
            f"{short} {words.figure(name, overall(metrics.named(name), blocks, without))}"
            for name, short in _SHOWN.items()
        ]

    def _draw(self) -> Group:
        share = (max(0, self._place - 1) + self._share) / self._total
        left = max(0.0, (1 - share) * self._total * self._block_seconds)
        bar = Table.grid(padding=(0, 2))
        bar.add_row(ProgressBar(total=1.0, completed=share, width=40), f"about {left:.0f} s left")
        lines = [self._now()]
        for variant in self._experiment.names():
            if blocks := [block for block in self._blocks if block.variant == variant]:
                lines.append(f"{variant} so far: {' · '.join(self._figures(blocks))}")
        return Group(bar, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))

    def _now(self) -> str:
        if self._planned is None:
            return "getting ready"
        counted = ", ".join(f"{self._facts[name]} {name}" for name in _COUNTED if name in self._facts)
        phase = {"settle": "settling", "measure": "measuring"}.get(self._facts.get("phase", ""), "setting flags")
        now = f"block {self._place}/{self._total}: round {self._planned.round}, {self._planned.variant}, {phase}"
        return f"{now}: {counted}" if counted else now
