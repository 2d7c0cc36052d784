"""Tells the gateway which block is under load, so that dashboards name the variant over their curves.

One request at the first sign of load (after the restarts of a block, before its measured stretch) and one at its end;
the gateway notes it in the metric costlab_block, and nothing else follows from it. A run that is killed leaves its last
mark until the next run or the gateway's next restart.
"""

from costlab.lab.block import Block
from costlab.lab.experiment import Experiment, Form
from costlab.lab.plan import Planned
from costlab.lab.runner import Listener
from costlab.stack.control import Control, ControlError


class Marking:
    """A listener (runner.Listener) that marks blocks of ``day``, and hands on all it hears to ``listener``."""

    def __init__(self, day: str, listener: Listener, control: Control) -> None:
        self._day = day
        self._listener = listener
        self._control = control
        self._planned: Planned | None = None
        self._marked: str | None = None

    def begun(self, experiment: Experiment, form: Form) -> None:
        """A run begins."""
        self._listener.begun(experiment, form)

    def started(self, place: int, blocks: int, planned: Planned) -> None:
        """A block begins; it is not under load yet."""
        self._planned = planned
        self._listener.started(place, blocks, planned)

    def progressed(self, share: float, facts: dict) -> None:
        """The block is under load."""
        if self._planned is not None and self._marked is None:
            self._mark(self._planned.variant, self._planned.round)
        self._listener.progressed(share, facts)

    def finished(self, block: Block) -> None:
        """The block is over."""
        self.close()
        self._listener.finished(block)

    def said(self, text: str) -> None:
        """Handed on."""
        self._listener.said(text)

    def close(self) -> None:
        """No block is under load."""
        if self._marked is not None:
            self._mark(self._marked, 0)
        self._planned = self._marked = None

    def _mark(self, variant: str, number: int) -> None:
        """A mark that cannot be made costs a line over a curve, not a run."""
        self._marked = variant
        try:
            document = {"experiment": self._day, "variant": variant, "round": number}
            self._control.call("PUT", "/block", document, service="gateway")
        except ControlError as error:
            self._listener.said(f"dashboards will not name this block: {error}")
