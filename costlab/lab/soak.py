"""Soak: many random sequences of faults, one after the other, while orders are placed; the stack has to come back.

After each sequence, within HEALTHY_SECONDS: every service is healthy, no fault is left, and orders are accepted again.
At the end: every order that was accepted is stored exactly once and was processed exactly once by the worker, and there
is no other of that user's.

The seed is said at the start, and with a failure the command that repeats the sequence (``costlab chaos soak``).
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Protocol

from costlab.failure import Failure
from costlab.lab import fault_sequences
from costlab.lab.errors import LabError
from costlab.lab.fault_sequences import Drawn
from costlab.lab.probes.link import Link
from costlab.lab.shopper import Shopper
from costlab.service.faults import Record
from costlab.stack import Stack
from costlab.stack.control import Control, ControlError

HEALTHY_SECONDS = 90.0
# The worker takes over the jobs of a consumer that died after some seconds.
PROCESSED_SECONDS = 60.0
_TICK_SECONDS = 0.1
_ORDERS = "select id from orders.orders where user_id = %s"
_PROCESSED = "select order_id, count(*) from worker.fulfilments where order_id = any(%s) group by order_id"


class Chaos(Protocol):
    """What makes faults: costlab.stack.chaos.Chaos."""

    def add(self, document: dict[str, object]) -> Record: ...

    def clear(self) -> int: ...

    def status(self) -> list[Record]: ...


@dataclass
class Soaked:
    """What came of it. ``wrong`` is empty when all is well; ``refused`` are faults that another one kept from being
    made, with the reason."""

    seed: int
    asked: int
    done: int = 0
    faults: int = 0
    refused: list[str] = field(default_factory=list)
    accepted: int = 0
    attempts: int = 0
    slowest_recovery_seconds: float = 0.0
    seconds: float = 0.0
    failed_sequence: int | None = None
    wrong: str = ""

    def document(self) -> dict[str, object]:
        """As JSON."""
        return asdict(self)


class Soak:
    """Soaks ``stack``; ``say`` gets a line for each sequence."""

    def __init__(
        self, stack: Stack, chaos: Chaos, say: Callable[[str], None], seconds_each: float, minutes: float
    ) -> None:
        self._stack = stack
        self._chaos = chaos
        self._say = say
        self._seconds_each = seconds_each
        self._limit = minutes * 60
        self._shopper = Shopper(stack.base_url())

    def run(self, seed: int, first: int, sequences: int) -> Soaked:
        """Sequences ``first`` to ``first + sequences - 1`` of ``seed``; whatever happens, no fault is left by us."""
        soaked = Soaked(seed, sequences)
        began = time.monotonic()
        control = Control(self._stack.internal_urls(), self._stack.token())
        if left := self._chaos.status():
            raise LabError(
                f"the stack has faults: {'; '.join(record.words() for record in left)} (costlab chaos clear)"
            )
        before = {name: value for name, value in control.flags().items() if name in fault_sequences.FLAGS}
        control.set_flags(fault_sequences.FLAGS)
        try:
            self._shopper.start()
            self._sequences(soaked, range(first, first + sequences), began)
            self._shopper.stop(HEALTHY_SECONDS)
            self._judge_orders(soaked)
        except LabError as error:
            soaked.wrong = soaked.wrong or str(error)
        finally:
            self._end(control, before)
            soaked.accepted, soaked.attempts = len(self._shopper.accepted), self._shopper.attempts
            soaked.seconds = round(time.monotonic() - began, 1)
        return soaked

    def _sequences(self, soaked: Soaked, numbers: range, began: float) -> None:
        menu = fault_sequences.menu(self._stack.toxiproxy_url() is not None)
        for number in numbers:
            if time.monotonic() - began > self._limit:
                raise LabError(f"time was over after {soaked.done} of {soaked.asked} sequences; none of those failed")
            drawn = fault_sequences.draw(soaked.seed, number, menu, self._seconds_each)
            try:
                recovery = self._sequence(drawn, soaked)
            except LabError:
                soaked.failed_sequence = number
                raise
            soaked.done += 1
            soaked.slowest_recovery_seconds = max(soaked.slowest_recovery_seconds, round(recovery, 1))
            self._say(f"     well again after {recovery:.1f} s; {len(self._shopper.accepted)} orders accepted so far")

    def _sequence(self, drawn: Drawn, soaked: Soaked) -> float:
        """Make its faults, and end them; the seconds until all was well again."""
        began, until = time.monotonic(), 0.0
        for place, timed in enumerate(drawn.faults):
            _sleep_until(began + timed.at)
            try:
                record = self._chaos.add(timed.document)
            except Failure as failure:
                words = f"{timed.document['fault']} on {timed.document['on']}"
                if place == 0:
                    raise LabError(f"{words} could not be made on a healthy stack: {failure}") from failure
                # What an earlier fault has broken may be what this one needs.
                soaked.refused.append(f"{drawn.number}: {words}: {failure}")
                self._say(f"{drawn.number:4d} {timed.at:4.1f} s  not made: {words}: {failure}")
                continue
            soaked.faults += 1
            until = max(until, record.until)
            self._say(f"{drawn.number:4d} {timed.at:4.1f} s  {record.words()}, for {record.until - record.since:g} s")
        _sleep_until(began + self._seconds_each)
        over = time.monotonic()
        if drawn.cleared:
            self._clear(over)
        else:
            time.sleep(max(0.0, until - time.time()))
            over = time.monotonic()
        self._wait_until_well(over)
        return time.monotonic() - over

    def _clear(self, over: float) -> None:
        while True:
            try:
                self._chaos.clear()
                return
            except Failure as failure:
                if time.monotonic() > over + HEALTHY_SECONDS:
                    raise LabError(f"the faults could not be cleared: {failure}") from failure
                time.sleep(_TICK_SECONDS)

    def _wait_until_well(self, over: float) -> None:
        while what := self._what_is_wrong():
            if time.monotonic() > over + HEALTHY_SECONDS:
                raise LabError(f"{HEALTHY_SECONDS:.0f} s after the faults were over: {what}")
            time.sleep(_TICK_SECONDS)
        if not self._shopper.wait_for_more(HEALTHY_SECONDS):
            raise LabError(
                f"orders were not accepted again {HEALTHY_SECONDS:.0f} s after the faults were over; "
                f"the last answer: {self._shopper.last_answer}"
            )

    def _what_is_wrong(self) -> str:
        try:
            if sick := [f"{row.name} is {row.state}" for row in self._stack.status() if not row.healthy]:
                return ", ".join(sick) + " and not healthy"
            if left := self._chaos.status():
                return f"a fault is left: {'; '.join(record.words() for record in left)}"
        except Failure as failure:
            return str(failure)
        return ""

    def _judge_orders(self, soaked: Soaked) -> None:
        placed = list(self._shopper.accepted.values())
        deadline = time.monotonic() + PROCESSED_SECONDS
        link = Link(self._stack.dsn("postgres"), "postgres")
        try:
            stored = [row[0] for row in link.rows(_ORDERS, self._shopper.user)]
            known = sorted({*placed, *stored})
            processed = dict(link.rows(_PROCESSED, known))
            while not set(stored) <= set(processed) and time.monotonic() < deadline:
                time.sleep(_TICK_SECONDS)
                processed = dict(link.rows(_PROCESSED, known))
        finally:
            link.close()
        soaked.wrong = judged(placed, stored, processed)

    def _end(self, control: Control, before: dict[str, object]) -> None:
        """Nothing of ours is left, whether it went well or was interrupted."""
        with suppress(LabError):  # said already, or interrupted
            self._shopper.stop(0)
        self._clear(time.monotonic())
        try:
            control.set_flags(before)
        except ControlError as error:
            self._say(f"the flags could not be put back ({', '.join(before)}): {error}")


def judged(placed: Sequence[int], stored: Sequence[int], processed: dict[int, int]) -> str:
    """What is wrong with the orders: accepted, stored, and how often each was processed; "" when nothing is.

    >>> judged([1, 2], [1, 2], {1: 1, 2: 1}), judged([1, 2], [1, 3], {1: 1, 3: 1})
    ('', 'accepted and not stored: 2; stored and never accepted: 3')
    """
    found = {
        "accepted twice under one id": sorted({order for order in placed if placed.count(order) > 1}),
        "accepted and not stored": sorted(set(placed) - set(stored)),
        "stored and never accepted": sorted(set(stored) - set(placed)),
        "never processed": sorted(set(stored) - set(processed)),
        "processed and not stored": sorted(set(processed) - set(stored)),
        "processed more than once": sorted(order for order, times in processed.items() if times > 1),
    }
    return "; ".join(f"{words}: {', '.join(map(str, orders[:10]))}" for words, orders in found.items() if orders)


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
