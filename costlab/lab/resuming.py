"""Going on with a run that ended before its time: only if it would still be the same run.

A run killed in round 7 of 10 has six rounds and perhaps a block on disk. What is missing follows from its seed. It
is refused where the blocks to come would measure something else than those that are there: another declaration,
other code, another machine, other flags around it, another load generator. Words (title, question, summaries) may have
changed. A later date is no reason: the noise floor of the first one stays, and the result says so (noise.py).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from costlab.lab.block import Block
from costlab.lab.environment import Environment, machine
from costlab.lab.errors import LabError
from costlab.lab.experiment import Experiment
from costlab.lab.noise import twins
from costlab.lab.plan import Planned
from costlab.lab.result import Result

_WORDS = ("title", "question", "summary", "because")


def missing(planned: Sequence[Planned], blocks: Iterable[Block]) -> list[Planned]:
    """The blocks of the plan that are not there yet."""
    done = {(block.round, block.variant) for block in blocks if not block.repeated}
    return [block for block in planned if (block.round, block.variant) not in done]


def check(stored: Result, declared: Experiment, here: Environment, flags: Mapping[str, object]) -> None:
    """LabError says why ``stored`` cannot be gone on with, on a stack whose flags stand as in ``flags``."""
    if stored.status == "complete":
        raise LabError(f"the run of {stored.started} is complete: there is nothing to resume")
    declared = declared.with_flags(stored.given_flags)
    declared = twins(declared) if stored.twins else declared
    if changed := list(_differences(stored.experiment.model_dump(), declared.model_dump(), _WORDS)):
        raise LabError(
            f"experiment.toml is no longer that of the run, which cannot go on: {changed[0]}{_more(changed)}"
        )
    then = stored.environment
    if then.code != here.code:
        raise LabError(
            f"the code is no longer that of the run ({_commit(then)}, now {_commit(here)}), which cannot go on"
        )
    if changed := list(_differences(machine(then), machine(here), ())):
        raise LabError(f"this is not the machine of the run, which cannot go on: {changed[0]}{_more(changed)}")
    used = {block.generator for block in stored.blocks} or {then.generator}
    if used - {None, here.generator}:
        raise LabError(
            f"the load of the run came from {' and '.join(sorted(used))} and would now come from {here.generator}: "
            "it cannot go on"
        )
    _refuse_other_flags(stored, flags)


def _refuse_other_flags(stored: Result, flags: Mapping[str, object]) -> None:
    """Those that variants set are set again before each block; the others have to stand as the run found them."""
    # Results of format 1 do not tell.
    before = stored.flags_before or flags
    if changed := list(_differences(dict(before), dict(flags), stored.experiment.flags())):
        raise LabError(
            f"the flags around the run are no longer as it found them, and it cannot go on: {'; '.join(changed)} "
            "(costlab flags set NAME=VALUE puts one back)"
        )


def _differences(then: Any, now: Any, ignored: Collection[str], name: str = "") -> Iterator[str]:
    """What differs, as "load.rate was 80 and is 90"."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*then, *now]):
            if key not in ignored:
                yield from _differences(then.get(key), now.get(key), ignored, f"{name}.{key}" if name else key)
    elif then != now:
        yield f"{name} was {then!r} and is {now!r}"


def _more(changed: Sequence[str]) -> str:
    return f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""


def _commit(environment: Environment) -> str:
    return f"{(environment.commit or 'no commit')[:9]}{' with changes' if environment.dirty else ''}"
