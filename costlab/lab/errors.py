"""What goes wrong in the lab, in one line a person can act on."""

from costlab.failure import Failure


class LabError(Failure):
    """An experiment, a price sheet, a result or a run is not usable; the message says which, where and why."""


class Interrupted(LabError):
    """The person stopped the run; flags are restored and the finished blocks are saved."""

    exit_code = 130
