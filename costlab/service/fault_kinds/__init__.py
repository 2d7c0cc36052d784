"""The kinds of faults a service makes in itself, one file per kind, by their names in faults.toml."""

from costlab.service.fault_kinds.bad_setting import BadSetting
from costlab.service.fault_kinds.capacity_cut import CapacityCut
from costlab.service.fault_kinds.cpu_burn import CpuBurn
from costlab.service.fault_kinds.effects import Kind, WholeKind
from costlab.service.fault_kinds.errors import Errors
from costlab.service.fault_kinds.hang import Hang
from costlab.service.fault_kinds.latency import Latency
from costlab.service.fault_kinds.latency_long_tail import LatencyLongTail
from costlab.service.fault_kinds.latency_normal import LatencyNormal
from costlab.service.fault_kinds.memory_leak import MemoryLeak
from costlab.service.fault_kinds.poison_tenant import PoisonTenant
from costlab.service.fault_kinds.reset import Reset
from costlab.service.fault_kinds.slow_body import SlowBody
from costlab.service.fault_kinds.stall import Stall

# Those that meet single requests or calls.
KINDS: dict[str, type[Kind]] = {
    "latency": Latency,
    "latency_normal": LatencyNormal,
    "latency_long_tail": LatencyLongTail,
    "stall": Stall,
    "errors": Errors,
    "hang": Hang,
    "reset": Reset,
    "slow_body": SlowBody,
    "poison_tenant": PoisonTenant,
}
# Those of the service as a whole.
WHOLE_KINDS: dict[str, type[WholeKind]] = {
    "capacity_cut": CapacityCut,
    "cpu_burn": CpuBurn,
    "memory_leak": MemoryLeak,
    "bad_setting": BadSetting,
}


def made_inside(fault: str) -> bool:
    """Whether services make it in themselves; some of level "input" are."""
    return fault in KINDS or fault in WHOLE_KINDS
