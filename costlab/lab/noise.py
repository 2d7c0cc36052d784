"""A/A: what this machine, today, reports for a change that is none.

The baseline runs against itself, in blocks as long as those of the day and half as many rounds (six at least). Its
floor for a metric is as far as the 95 % interval of that ratio reaches: -1.2 to +3.0 % is a floor of 3.0 %. A change of
the day has to be clear of the larger of this and the effect it declared. Kept in runs/noise/DAY/; it holds for the
date (UTC), machine, load, generator, faults and flags it was measured with, and for blocks at least as long. A run
that goes on on a later date keeps its floor, as one does that is not interrupted at midnight: without it less would be
asked of a change. Its caveats say so.

Trade-off: half a run more, once a day. Alternative: trust the interval alone, which knows nothing of what favours
whoever comes second. Source: Kayenta and criterion measure a machine against itself in the same way.
"""

import math
from pathlib import Path

from costlab.lab import guards, result, words
from costlab.lab.catalogue import Day
from costlab.lab.environment import machine
from costlab.lab.errors import LabError
from costlab.lab.experiment import Experiment, Form, Prediction
from costlab.lab.result import Noise, Result

FOLDER = "noise"
_FEWEST = 6


def twins(experiment: Experiment) -> Experiment:
    """The baseline against itself."""
    again = f"{experiment.baseline}-again"
    same = experiment.variants[experiment.baseline]
    return experiment.model_copy(
        update={
            "variants": {experiment.baseline: same, again: same},
            "primary": experiment.primary.model_copy(update={"variant": again}),
            "prediction": Prediction(ratio=1.0, because="the two variants are the same"),
        }
    )


def form(of: Form) -> Form:
    """Half the rounds of ``of``, and not fewer than six."""
    return of.model_copy(update={"count": max(_FEWEST, of.count // 2)})


def spoilt(measured: Result) -> list[str]:
    """What forbids any comparison in this run, its floors included: a machine that is too busy has none."""
    return guards.spoilt([block for block in measured.blocks if not block.repeated])


def of(measured: Result) -> Noise:
    """The floors that an A/A run found, as shares."""
    spans = {effect.metric: (effect.low, effect.high) for effect in measured.conclusion.effects}
    return Noise(
        measured=measured.started,
        rounds=measured.form.count,
        block_seconds=measured.form.block_seconds,
        floors={
            name: math.expm1(max(abs(math.log(low)), abs(math.log(high))))
            for name, (low, high) in spans.items()
            if low and high
        },
    )


def today(day: Day, wanted: Result, runs: Path) -> Noise | None:
    """The newest floor that holds for ``wanted``, if one was measured on its date."""
    for path in sorted((runs / FOLDER / day.slug).glob("*.json"), reverse=True):
        try:
            measured = result.load(path)
        except LabError:
            continue  # damaged or of another version: as good as not there
        if measured.conclusion is not None and _holds(measured, wanted):
            return of(measured)
    return None


def _holds(measured: Result, wanted: Result) -> bool:
    return (
        measured.status == "complete"
        and not spoilt(measured)
        and measured.started[:10] == wanted.started[:10]
        and _conditions(measured) == _conditions(wanted)
        and {block.generator for block in measured.blocks} == {wanted.environment.generator}
        and measured.form.block_seconds <= wanted.form.block_seconds
        and set(wanted.experiment.metrics()) <= set(measured.experiment.metrics())
    )


def _conditions(one: Result) -> tuple:
    declared, flags = one.experiment, one.experiment.variants[one.experiment.baseline].flags
    around = {name: value for name, value in one.flags_before.items() if name not in flags}
    return flags, around, declared.load, declared.state, declared.faults, machine(one.environment)


def outlived(one: Result) -> list[str]:
    """What to say of a run that outlived its floor: a sentence, or nothing."""
    dates = sorted({time[:10] for time in one.resumed if one.noise is not None and time[:10] > one.noise.measured[:10]})
    if not dates:
        return []
    begun = f"the noise floor begun on {one.noise.measured[:10]}"
    return [f"the run went on on {' and '.join(dates)} with {begun}: a floor holds for its date only"]


def line(noise: Noise) -> str:
    """The floors in words."""
    floors = ", ".join(f"{words.title(name)} {words.percent(floor)}" for name, floor in noise.floors.items())
    rounds = f"{noise.rounds} rounds of {noise.block_seconds:g} s"
    return f"noise floor (the baseline against itself, {rounds}, {noise.measured}): {floors or 'none'}"
