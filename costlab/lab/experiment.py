"""What an ``experiment.toml`` may say: everything about a run is declared before it starts.

[variants.off]        named flag values; the one named by `baseline` is what the others are held against
[primary]             one metric, which way it should go, and the smallest change that would matter
[load]                the requests, and how many a second
[rounds] [quick]      the full form and the quick one: how many rounds, how long a block
[state] [guards]      what every block starts from, and what it must keep to
[[faults]]            what is broken on purpose, in every block, and when (timeline.py)
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from costlab.lab import metrics
from costlab.lab.catalogue import ROOT
from costlab.lab.errors import LabError
from costlab.lab.load.spec import LoadError
from costlab.lab.load.traffic import load_traffic
from costlab.lab.metrics import DATASTORES
from costlab.lab.toml_file import Closed, line_of, read
from costlab.service.faults import SEEDS, BadFault
from costlab.service.faults import Registry as Faults
from costlab.service.flags import BadFlagValue, Registry, UnknownFlag
from costlab.stack.ports import COMPOSE_FILE, moved
from costlab.stack.topology import INTERNAL, Topology

TAIL, TAIL_REQUESTS, TAIL_ROUNDS = "p99_ms", 3000, 20
# What a fault does once may be chance. The quick form has fewer trials and says that it is quick.
FEWEST_TRIALS, MOST_ROUNDS = 10, 200
# The built-in generator holds the whole plan of a block in memory before it starts.
MOST_REQUESTS = 10_000_000
_TRAFFIC = ROOT / "loadtests" / "traffic"
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
FlagValue = str | int | float


class Variant(Closed):
    """Named flag values. ``without``: services this variant would not deploy; they stay out of its CPU and bill."""

    summary: Text
    flags: Annotated[dict[str, FlagValue], Field(min_length=1)]
    without: list[str] = Field(default_factory=list)


class Primary(Closed):
    """The metric that decides. ``smallest_effect`` is a share: 0.05 = 5 %; without it the metric's own default."""

    metric: str
    variant: str
    direction: Literal["lower", "higher"]
    smallest_effect: Annotated[float, Field(ge=0, lt=1)] | None = None

    @field_validator("metric")
    @classmethod
    def _known(cls, name: str) -> str:
        metrics.named(name)
        return name

    def threshold(self) -> float:
        """The smallest effect that matters, as a share."""
        return metrics.named(self.metric).matters if self.smallest_effect is None else self.smallest_effect


class Prediction(Closed):
    """What arithmetic says beforehand: ``ratio`` of the primary metric, variant over baseline, and why."""

    ratio: Annotated[float, Field(gt=0, le=1_000_000)]
    because: Text


class Load(Closed):
    """``rate`` requests per second of the mix in ``traffic`` (a file, from the repository's root)."""

    traffic: Text
    # k6 takes a rate in thousandths.
    rate: Annotated[float, Field(ge=0.001, le=100_000)]
    api_key: Text = "demo"


class Form(Closed):
    """How long a run is: rounds of one block per variant; ``settle_seconds`` of each block are not counted."""

    count: Annotated[int, Field(ge=1, le=MOST_ROUNDS)]
    block_seconds: Annotated[float, Field(ge=1, le=3600)]
    settle_seconds: Annotated[float, Field(ge=0, le=3600)]
    repeat_drifting: bool = False


class State(Closed):
    """What every block starts from. cache: emptied before each block, or kept as the last block left it.

    ``restart``: services that start anew before each block. Those that variants' flags need restart anyway.
    """

    cache: Literal["emptied", "kept"] = "kept"
    restart: list[str] = Field(default_factory=list)


class PlannedFault(Closed):
    """Something broken on purpose ``at`` so many seconds into every block, for ``seconds``: see timeline.py.

    The rest is what ``costlab chaos list`` says of the fault; ``seconds`` means nothing to one that is over at once.
    Without ``seed`` one is drawn: for each play, for each round of an experiment.
    """

    at: Annotated[float, Field(ge=0, le=3600)]
    seconds: Annotated[float, Field(ge=1, le=3600)] = 1
    fault: Text
    on: Text
    edge: str = ""
    route: str = ""
    rate: Share | None = None
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] | None = None
    parameters: dict[str, FlagValue] = Field(default_factory=dict)

    def document(self) -> dict[str, object]:
        """As costlab.stack.chaos takes it."""
        said = self.model_dump(exclude={"at", "seconds"}, exclude_none=True)
        return {name: value for name, value in said.items() if value != ""} | {"ttl": self.seconds}


class GuardLimits(Closed):
    """What a block must keep to for its figures to be trusted; all are shares."""

    dropped: Share = 0.0
    rate_error: Share = 0.01
    failed: Share = 0.01
    failed_difference: Share = 0.005
    overlap: Share = 0.01
    generator: Share = 0.25
    steal: Share = 0.02
    busy: Share = 0.70
    cpu_pressure: Share = 0.40
    memory_pressure: Share = 0.05


class Experiment(Closed):
    """One day. Read it with ``load``, which also checks the flags against flags.toml."""

    title: Text
    question: Text
    baseline: str
    variants: Annotated[dict[str, Variant], Field(min_length=2)]
    primary: Primary
    secondary: list[str] = Field(default_factory=list)
    prediction: Prediction
    load: Load
    rounds: Form
    quick: Form
    state: State = State()
    guards: GuardLimits = GuardLimits()
    faults: list[PlannedFault] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_exist(self) -> "Experiment":
        known = ", ".join(self.variants)
        for key, name in (("baseline", self.baseline), ("primary.variant", self.primary.variant)):
            if name not in self.variants:
                raise ValueError(f"{key} is {name!r}; allowed: {known}")
        if self.primary.variant == self.baseline:
            raise ValueError(f"primary.variant is the baseline itself; allowed: {known} without {self.baseline}")
        return self

    @model_validator(mode="after")
    def _a_tail_takes_many_requests(self) -> "Experiment":
        """The 99th percentile of 1,000 requests is the tenth slowest: a figure about ten requests."""
        requests, rounds = self.load.rate * self.rounds.block_seconds, self.rounds.count
        if self.primary.metric == TAIL and (requests < TAIL_REQUESTS or rounds < TAIL_ROUNDS):
            raise ValueError(
                f"primary.metric p99_ms takes at least {TAIL_REQUESTS:,} requests a block (rate x block_seconds is "
                f"{requests:,.0f}) and {TAIL_ROUNDS} rounds (rounds.count is {rounds})"
            )
        return self

    @model_validator(mode="after")
    def _a_block_can_be_planned(self) -> "Experiment":
        for name, form in (("rounds", self.rounds), ("quick", self.quick)):
            requests = self.load.rate * (form.settle_seconds + form.block_seconds)
            if requests > MOST_REQUESTS:
                raise ValueError(f"a block of {name} has {requests:,.0f} requests; allowed: {MOST_REQUESTS:,}")
        return self

    @field_validator("secondary")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            metrics.named(name)
        return names

    def form(self, quick: bool) -> Form:
        """The quick form or the full one."""
        return self.quick if quick else self.rounds

    def names(self) -> list[str]:
        """The variants, the baseline first."""
        return [self.baseline, *(name for name in self.variants if name != self.baseline)]

    def flags(self) -> list[str]:
        """Every flag that some variant sets."""
        return sorted({flag for variant in self.variants.values() for flag in variant.flags})

    def with_flags(self, flags: Mapping[str, FlagValue]) -> "Experiment":
        """The same with ``flags`` in every variant, instead of what it says itself; LabError if two become one."""
        changed = {
            name: variant.model_copy(update={"flags": variant.flags | flags}) for name, variant in self.variants.items()
        }
        for one, other in combinations(changed, 2):
            if changed[one].flags == changed[other].flags and self.variants[one].flags != self.variants[other].flags:
                said = ", ".join(f"{name}={value}" for name, value in flags.items())
                raise LabError(f"with {said} the variants {one} and {other} would be the same")
        return self.model_copy(update={"variants": changed})

    def metrics(self) -> list[str]:
        """The primary metric and the secondary ones, in the order in which they are shown."""
        return list(dict.fromkeys([self.primary.metric, *self.secondary]))


def load(path: Path) -> Experiment:
    """The experiment in ``path``, checked against flags.toml and docker-compose.yml; LabError names file and line."""
    registry, known = Registry.load(), services()
    experiment = read(path, Experiment, partial(_of_a_flag, registry))
    for name, variant in experiment.variants.items():
        for flag, value in variant.flags.items():
            _check_flag(path, registry, name, flag, value)
        _check_services(path, ("variants", name, "without"), variant.without, (*known, *DATASTORES))
    _check_traffic(path, experiment.load.traffic)
    _check_services(path, ("state", "restart"), experiment.state.restart, known)
    _check_services(path, ("primary", "metric"), _service_of([experiment.primary.metric]), known)
    _check_services(path, ("secondary",), _service_of(experiment.secondary), known)
    for number, fault in enumerate(experiment.faults):
        _check_fault(path, ("faults", str(number)), fault, experiment)
    _check_trials(path, experiment)
    return experiment


def services() -> list[str]:
    """Our own services, those with an internal port, by their names in docker-compose.yml."""
    topology = Topology.read(COMPOSE_FILE, moved({}, COMPOSE_FILE))
    return sorted(service.name for service in topology.services.values() if INTERNAL in service.listens)


def _service_of(names: Sequence[str]) -> list[str]:
    """The services that metrics are of: cpu_ms_per_request.users"""
    return [service for name in names if (service := name.partition(".")[2])]


def _of_a_flag(registry: Registry, where: tuple[str, ...]) -> str | None:
    """What a flag allows, if one stands ``where`` a value of the wrong type was found."""
    match where:
        case ("variants", _, "flags", flag) if flag in registry.defaults():
            return registry[flag].allowed()
    return None


def _check_flag(path: Path, registry: Registry, variant: str, flag: str, value: FlagValue) -> None:
    try:
        registry[flag].parse(value)
    except (UnknownFlag, BadFlagValue) as error:
        where = ("variants", variant, "flags", flag)
        raise LabError(f"{path}:{line_of(path.read_text(), where)}: variants.{variant}: {error}") from error


def _check_traffic(path: Path, traffic: str) -> None:
    try:
        load_traffic(ROOT / traffic, seed=0, run="")
    except LoadError as error:
        known = ", ".join(sorted(file.relative_to(ROOT).as_posix() for file in _TRAFFIC.glob("*.json")))
        line = line_of(path.read_text(), ("load", "traffic"))
        raise LabError(f"{path}:{line}: load.traffic: {error}; there are: {known}") from error


def _check_fault(path: Path, where: tuple[str, ...], fault: PlannedFault, experiment: Experiment) -> None:
    try:
        Faults.load().wish(fault.document())
    except BadFault as error:
        raise LabError(f"{path}:{line_of(path.read_text(), where)}: {'.'.join(where)}: {error}") from error
    shortest = min(experiment.quick.block_seconds, experiment.rounds.block_seconds)
    if fault.at + fault.seconds > shortest:
        line = line_of(path.read_text(), (*where, "at"))
        over = f"is over {fault.at + fault.seconds:g} s into a block, and the shortest lasts {shortest:g} s"
        raise LabError(f"{path}:{line}: {'.'.join(where)} {over}")


def _check_trials(path: Path, experiment: Experiment) -> None:
    """A day with faults is read off at least ten blocks of each variant, every one from its state at the start."""
    count = experiment.rounds.count
    if experiment.faults and count < FEWEST_TRIALS:
        line = line_of(path.read_text(), ("rounds", "count"))
        allowed = f"{FEWEST_TRIALS} to {MOST_ROUNDS} where there are faults (quick.count may be less)"
        raise LabError(f"{path}:{line}: rounds.count is {count}; allowed: {allowed}")


def _check_services(path: Path, where: tuple[str, ...], named: Sequence[str], known: Sequence[str]) -> None:
    for name in named:
        if name not in known:
            line = line_of(path.read_text(), where)
            raise LabError(f"{path}:{line}: {'.'.join(where)} names {name!r}; allowed: {', '.join(known)}")
