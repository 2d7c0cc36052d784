"""A judged rollout: step by step to everybody, or back to nobody as soon as the judge finds the canary worse.

    grow to 1 % ─► look ─► judge ─► grow to 5 % ─► look ─► judge ─► ... ─► 100 %: promote
                             └─ fail, not enough data, Ctrl-C, an error ──► roll back

Example: steps 1, 5, 25, 100 with 8 looks of 5 s each take 2 minutes. A version that fails one request in five is gone
after 40 s, and 1 % of the users have met it. At 100 % there is nobody left to compare with, so that step promotes.

Trade-off: the smaller the step, the fewer are hurt and the longer it takes to see enough of them.
Use instead: ``costlab flags set`` for what can be undone and hurts nobody.

The rollout lives only as long as it is renewed. Whoever kills this process ends it by that.
Units: percent of users, seconds. Source: Beyer et al., Google SRE workbook (2018), ch. 16 "Canarying Releases".
"""

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from costlab.failure import Failure
from costlab.lab.canary_judge import PASS, Counts, Interval, Verdict, judge
from costlab.stack.control import Control

SECONDS = "costlab_rollout_duration_seconds"
MISMATCHES = "costlab_rollout_mismatches_total"

Samples = list[tuple[str, dict[str, str], float]]
Totals = Counter[tuple[str, str, float]]


class NotOurs(Failure):
    """Somebody else rolls this flag out, or has ended what we rolled out."""


@dataclass(frozen=True)
class Plan:
    """What to roll out and how. ``steps`` rise to 100, with one below; at each there are ``looks`` of ``seconds``.

    ``live``: seconds that the rollout outlives whoever walks it.
    """

    flag: str
    value: str
    steps: Sequence[float]
    looks: int
    seconds: float
    live: float


class Canary:
    """Rolls ``plan`` out on the stack behind ``control``; ``services`` are the instances that decide the flag."""

    def __init__(
        self,
        control: Control,
        services: Sequence[str],
        plan: Plan,
        sleep: Callable[[float], object],
        report: Callable[[str], None],
    ) -> None:
        self._control = control
        self._services = services
        self._plan = plan
        self._sleep = sleep
        self._report = report
        self._salt = secrets.token_hex(4)
        self._begun = False

    def walk(self) -> Verdict:
        """The verdict of the last step. Whatever ends the walk before everybody has the value, nobody has it then."""
        promoted = False
        try:
            for percent in self._plan.steps:
                if percent >= 100:
                    break
                verdict = self._step(percent)
                if verdict.word != PASS:
                    return verdict
            self._check_ours()
            self._control.set_flags({self._plan.flag: self._plan.value})
            promoted = True
            return verdict
        finally:
            if not promoted:
                self._roll_back()

    def _step(self, percent: float) -> Verdict:
        self._report(f"{percent:g} % of the users get {self._plan.value}")
        intervals = []
        self._check_ours()
        self._grow(percent)
        before = self._totals()
        for _ in range(self._plan.looks):
            self._sleep(self._plan.seconds)
            if self._check_ours() < self._plan.live / 2:
                self._grow(percent)
            now = self._totals()
            intervals.append(interval(before, now))
            before = now
        verdict = judge(intervals)
        self._report(describe(verdict))
        return verdict

    def _grow(self, percent: float) -> None:
        wish = {"value": self._plan.value, "percent": percent, "salt": self._salt, "seconds": self._plan.live}
        self._control.roll_out({self._plan.flag: wish})
        self._begun = True

    def _check_ours(self) -> float:
        """Seconds that our rollout has left; NotOurs when it is not, or no more, the one that is there."""
        running = self._control.rollouts().get(self._plan.flag)
        if not self._begun and running is not None:
            raise NotOurs(f"{self._plan.flag} is being rolled out already: costlab rollout status, promote or abort")
        if self._begun and (running is None or running["salt"] != self._salt):
            raise NotOurs(f"the rollout of {self._plan.flag} was ended by somebody else; nothing more is done")
        return 0.0 if running is None else running["seconds_left"]

    def _roll_back(self) -> None:
        running = self._control.rollouts().get(self._plan.flag)
        if running is not None and running["salt"] == self._salt:
            self._control.roll_out({self._plan.flag: None})
            self._report(f"rolled back: nobody gets {self._plan.value} any more")

    def _totals(self) -> Totals:
        samples = [sample for service in self._services for sample in self._control.metrics(service)]
        return totals(samples, self._plan.flag)


def totals(samples: Samples, flag: str) -> Totals:
    """Of the metrics of a rollout of ``flag``: (group, what, bucket) to how many since the processes started."""
    found: Totals = Counter()
    for name, labels, value in samples:
        if labels.get("flag") != flag:
            continue
        if name == f"{SECONDS}_bucket":
            found[labels["group"], "within", float(labels["le"])] += value
        elif name == f"{SECONDS}_count":
            found[labels["group"], "requests", 0] += value
            found[labels["group"], "errors", 0] += value if labels["outcome"] == "error" else 0
        elif name == MISMATCHES:
            found["canary", "wrong", 0] += value
    return found


def interval(before: Totals, now: Totals) -> Interval:
    """What was answered between two looks; nothing, where a process started anew in between."""
    change = Counter(now)
    change.subtract(before)
    times = {bucket for _, what, bucket in change if what == "within" and bucket != float("inf")}
    restarted = any(value < 0 for value in change.values())
    return Interval(*(_counts(Counter() if restarted else change, group, times) for group in ("baseline", "canary")))


def _counts(change: Totals, group: str, times: set[float]) -> Counts:
    requests = change[group, "requests", 0]
    slower = {time: requests - change[group, "within", time] for time in times}
    return Counts(requests, change[group, "errors", 0], change[group, "wrong", 0], slower)


def describe(verdict: Verdict) -> str:
    """The verdict in words, a line for each metric."""
    lines = [f"{verdict.word} ({verdict.intervals} looks with enough requests in both groups)"]
    for one in verdict.comparisons:
        mark = "worse" if one.failed else "fine"
        shares = f"{one.baseline:.1%} of the baseline, {one.canary:.1%} of the canary"
        lines.append(f"  {mark:<6}{one.metric}: {shares} (p = {one.p:.2g})")
    return "\n".join(lines)
