"""The spans of one request, asked of every instance of every service: what each has kept of it (kept_spans.py).

Which trace a request belongs to is known to those who have seen its id; the worker, behind the job stream, only knows
the trace. So the id is asked for first, and then each trace that this has brought.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from costlab.seeing import span_tree
from costlab.seeing.span_tree import Span
from costlab.stack.control import Control, ControlError

# A process keeps spans in batches, EXPORT_MS apart at most (costlab/service/tracing.py), and at once when it is asked
# for them; of a service with several processes one is asked. A busy machine is late.
SETTLED_SECONDS = 6.5
LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class KeptTrace:
    """What was found. ``away``: the instances that did not answer. ``oldest``: when the oldest span that any gateway
    keeps ended, in seconds since 1970; None when there is none."""

    spans: list[Span]
    away: list[str]
    oldest: float | None

    def settled(self, now: float) -> bool:
        """Whether nothing more is to be expected: no span ended so lately that others may be on their way."""
        return bool(self.spans) and now - max(span.end for span in self.spans) / 1e9 > SETTLED_SECONDS


def wait_for(
    look: Callable[[], KeptTrace],
    seconds: float,
    clock: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> KeptTrace:
    """What ``look`` finds once it has settled, or after ``seconds``."""
    until = clock() + seconds
    found = look()
    while not found.settled(clock()) and clock() < until:
        pause(LOOK_SECONDS)
        found = look()
    return found


def collect(control: Control, instances: Iterable[str], identity: str) -> KeptTrace:
    """What is kept now of the request or the trace ``identity``; ControlError when no instance answers."""
    names = list(instances)
    answers = _ask_all(control, names, identity)
    if not answers:
        raise ControlError(f"none of {', '.join(names)} answers (costlab status)")
    spans = _spans(answers)
    for trace in sorted({span.trace_id for span in spans.values()} - {identity}):
        spans |= _spans(_ask_all(control, answers, trace))
    ends = [answer["oldest"] for name, answer in answers.items() if name == "gateway"]
    return KeptTrace(
        spans=sorted(spans.values(), key=lambda span: (span.start, span.span_id)),
        away=[name for name in names if name not in answers],
        oldest=next(iter(ends), None),
    )


def _ask_all(control: Control, instances: Iterable[str], identity: str) -> dict[str, dict[str, Any]]:
    """What each instance says that answers."""

    def ask(instance: str) -> dict[str, Any]:
        try:
            return control.call("GET", f"/spans/{identity}", service=instance)
        except ControlError:
            return {}

    names = list(instances)
    with ThreadPoolExecutor(len(names)) as pool:
        return {name: answer for name, answer in zip(names, pool.map(ask, names), strict=True) if answer}


def _spans(answers: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], Span]:
    found = [
        span_tree.parse(written, answer["service"], instance)
        for instance, answer in answers.items()
        for written in answer["spans"]
    ]
    return {(span.trace_id, span.span_id): span for span in found}
