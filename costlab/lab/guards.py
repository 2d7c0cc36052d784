"""What a block must keep to for its figures to be trusted. Recorded for every block, never a reason to drop one.

Some spoil the comparison itself (requests dropped, the rate not reached, too many failures): then no verdict about
time is given. The others say that the machine was not quiet, which the report repeats beside the verdict.
"""

from costlab.lab import words
from costlab.lab.block import Block, Guard
from costlab.lab.experiment import GuardLimits
from costlab.lab.warmup import MATTERS

WORDS = {
    "dropped": "planned requests never sent",
    "rate_error": "planned requests not answered by the end of the block",
    "failed": "requests that failed",
    "generator": "machine time taken by the load generator",
    "steal": "machine time stolen by the host",
    "busy": "machine time in use",
    "cpu_pressure": "time in which something waited for a CPU",
    "memory_pressure": "time in which something waited for memory",
    "overlap": "the block that had gone before the probes were ready",
    "trend": "change from the first half of the block to the second, too steady for chance",
}


def check(block: Block, limits: GuardLimits) -> list[Guard]:
    """Every guard of one block with its value and limit."""
    planned = max(1, block.planned)
    machine = block.machine
    drift = abs(block.trend.change) if block.trend.drifting else 0.0
    return [
        _guard("dropped", block.dropped / planned, limits.dropped, spoils=True),
        _guard("rate_error", (planned - block.answered_in_time) / planned, limits.rate_error, spoils=True),
        _guard("failed", block.failed_share, limits.failed, spoils=True),
        _guard("overlap", block.overlap_seconds / block.seconds, limits.overlap, spoils=False),
        _guard("trend", drift, MATTERS, spoils=False),
        _guard("generator", machine.generator, limits.generator, spoils=False),
        _guard("steal", machine.steal, limits.steal, spoils=False),
        _guard("busy", machine.busy, limits.busy, spoils=False),
        _guard("cpu_pressure", machine.cpu_pressure, limits.cpu_pressure, spoils=False),
        _guard("memory_pressure", machine.memory_pressure, limits.memory_pressure, spoils=False),
    ]


def _guard(name: str, value: float | None, limit: float, *, spoils: bool) -> Guard:
    return Guard(name=name, value=value, limit=limit, kept=None if value is None else value <= limit, spoils=spoils)


def broken(blocks: list[Block]) -> list[str]:
    """One line for each guard that was broken: how often, how badly, against which limit."""
    lines = []
    for name, meaning in WORDS.items():
        seen = [guard for block in blocks for guard in block.guards if guard.name == name and guard.kept is False]
        if seen:
            worst = max(guard.value for guard in seen if guard.value is not None)
            often = f"over {100 * seen[0].limit:g} % in {len(seen)} of {len(blocks)} blocks"
            lines.append(f"{meaning}: {often}, at worst {words.percent(worst)}")
    return lines


def unseen(blocks: list[Block]) -> list[str]:
    """The guards this machine could not check."""
    missing = {guard.name for block in blocks for guard in block.guards if guard.kept is None}
    return [meaning for name, meaning in WORDS.items() if name in missing]


def spoilt(blocks: list[Block]) -> list[str]:
    """The broken guards that spoil a comparison of times."""
    names = {guard.name for block in blocks for guard in block.guards if guard.spoils and guard.kept is False}
    return [meaning for name, meaning in WORDS.items() if name in names]
