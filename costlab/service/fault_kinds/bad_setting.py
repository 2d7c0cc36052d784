"""Bad setting: somebody has changed the service's configuration document, and the value is wrong.

Example: ``max_page`` of orders becomes "many". With ``service.config = push`` every process has it at once and answers
every history with 500; with poll each has it at its next look; with restart only a process that starts while the fault
lasts. With ``service.config_validation = on`` the document is refused at the door, and so is this fault.

Trade-off: it comes the way documents come, but goes at once and everywhere when its time is over, by each process's own
clock; a real one stays until somebody mends it. What the operator sets meanwhile lies under it; of two on one setting
the later counts, and each ends alone.
Use instead: ``costlab config set`` for a document that stays.

Units: none. Source: Huang et al., "Metastable Failures in the Wild" (OSDI '22): configuration changes are half of all
triggers; costlab/service/configuration.py.
"""

import orjson

from costlab.service.fault_kinds.effects import Parts


class BadSetting:
    """Makes ``setting`` be ``value``, which is JSON or else a text."""

    def __init__(self, setting: str, value: str) -> None:
        self._setting = setting
        try:
            self._value: object = orjson.loads(value)
        except orjson.JSONDecodeError:
            self._value = value

    def refusal(self, parts: Parts) -> str:
        """Why there is no document it could spoil."""
        if parts.configuration is None:
            return "has no configuration document"
        return parts.configuration.refusal(self._setting, self._value)

    def start(self, parts: Parts) -> None:
        """Send it."""
        if parts.configuration is not None:
            parts.configuration.slip_in(self, self._setting, self._value)

    def stop(self, parts: Parts) -> None:
        """Take it back."""
        if parts.configuration is not None:
            parts.configuration.withdraw(self)
