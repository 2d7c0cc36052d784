"""Flags that a run left set because it was killed (kill -9, a loss of power): the next run puts them back.

The file of a killed run still says "running", though only one run at a time has the stack, and knows what stood before
it. Put back is what stands as one of its variants has it; what a person has set since then stays.
"""

from collections.abc import Mapping
from pathlib import Path

from costlab.lab import noise, result
from costlab.lab.errors import LabError
from costlab.lab.experiment import Experiment
from costlab.lab.result import Result
from costlab.service.flags import Registry


def by_a_killed_run(now: Mapping[str, object], runs: Path, target: str) -> dict[str, object]:
    """The flags to set so that all are as before the newest run on ``target``; none unless that was killed."""
    killed = _newest(runs)
    if killed is None or killed.status != "running" or killed.environment.target != target:
        return {}
    before, flags = killed.flags_before, killed.experiment.flags()
    for variant in killed.experiment.variants.values():
        if all(now.get(name) == (before | variant.flags).get(name) for name in flags):
            return {name: before[name] for name in flags if now[name] != before.get(name, now[name])}
    return {}


def not_at_default(now: Mapping[str, object], experiment: Experiment) -> dict[str, object]:
    """The flags with another value than their default that some variant leaves as they are."""
    defaults = Registry.load().defaults()
    set_by_all = set.intersection(*(set(variant.flags) for variant in experiment.variants.values()))
    return {name: value for name, value in now.items() if value != defaults.get(name, value) and name not in set_by_all}


def words(flags: Mapping[str, object]) -> str:
    """cache.ttl=60, http.pool_size=3"""
    return ", ".join(f"{name}={value}" for name, value in flags.items())


def _newest(runs: Path) -> Result | None:
    paths = [*runs.glob("*/*.json"), *runs.glob(f"{noise.FOLDER}/*/*.json")]
    if not paths:
        return None
    try:
        return result.load(max(paths, key=lambda path: path.name))
    except LabError:
        return None  # damaged or of another version: it tells nothing
