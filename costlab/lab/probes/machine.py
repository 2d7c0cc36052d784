"""The whole machine: how busy it was, what the host stole, and how long work waited (Linux pressure stall, PSI)."""

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from costlab.lab.block import Machine

_PRESSURE = Path("/proc/pressure")


@dataclass(frozen=True)
class Totals:
    """Seconds since start, of all cores together; stall seconds by resource, where the kernel keeps them."""

    at: float
    all: float
    idle: float
    steal: float | None
    stalled: dict[str, float]


def read() -> Totals:
    """The totals now."""
    times = psutil.cpu_times()
    # The kernel counts guest time within user time already.
    counted = [value for name, value in times._asdict().items() if not name.startswith("guest")]
    return Totals(
        at=time.monotonic(),
        all=sum(counted),
        idle=times.idle + getattr(times, "iowait", 0.0),
        steal=getattr(times, "steal", None),
        stalled={name: seconds for name in ("cpu", "memory", "io") if (seconds := _stalled(name)) is not None},
    )


def between(before: Totals, after: Totals) -> Machine:
    """Shares of the machine's time between two readings."""
    passed = after.all - before.all
    steal = None if before.steal is None or after.steal is None else after.steal - before.steal
    return Machine(
        busy=1 - (after.idle - before.idle) / passed if passed > 0 else None,
        steal=steal / passed if steal is not None and passed > 0 else None,
        generator=None,
        cpu_pressure=_pressure(before, after, "cpu"),
        memory_pressure=_pressure(before, after, "memory"),
        io_pressure=_pressure(before, after, "io"),
    )


def _pressure(before: Totals, after: Totals, name: str) -> float | None:
    if name not in before.stalled or name not in after.stalled or after.at <= before.at:
        return None
    return (after.stalled[name] - before.stalled[name]) / (after.at - before.at)


def _stalled(name: str) -> float | None:
    """Seconds in which something waited for ``name``; None where the kernel does not say."""
    try:
        some = (_PRESSURE / name).read_text().splitlines()[0]
    except OSError:
        return None
    return int(some.rsplit("total=", 1)[1]) / 1e6
