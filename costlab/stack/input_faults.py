"""Faults of the input: nothing is wrong with the system, only with what it is given.

    bad_setting     a wrong value in a service's configuration document      made in its processes, over the
    poison_tenant   one client's requests break what serves them             internal port (service_faults.py)
    bad_version     a bad version of users for some of the users             a rollout, which has a time of its own
    traffic_burst   requests nobody has planned for                          a generator, a process of its own

Those made in processes are listed and ended as all such faults are. The other two have a record with a keeper
(kept_faults.py), although both would end by themselves: what ``status`` says and ``clear`` ends is in one place.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial

from costlab.service.faults import BadFault, Record, Wish
from costlab.stack import ROOT, Stack, StackError
from costlab.stack.control import Control, ControlError
from costlab.stack.fault_teller import FaultTeller
from costlab.stack.kept_faults import KeptFaults, attempt_all
from costlab.stack.processes import MARK
from costlab.stack.service_faults import ServiceFaults

FLAG = "users.version"
USUAL = "v1"
# Whom the gateway tells whose request it is.
TOLD = ("users", "orders", "cache-proxy")
# All of them are worked out before the first is sent.
LARGEST_BURST = 100_000
_START_SECONDS = 30
_NOTHING = {"end": []}


class InputFaults:
    """The level "input" of chaos."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._services = ServiceFaults(stack)
        self._kept = KeptFaults(stack.faults_folder, "input", FaultTeller(stack))

    def apply(self, wish: Wish) -> Record:
        """In force when this returns; a bad setting is on its way then, which is what ``service.config`` says."""
        make = {
            "bad_setting": self._services.apply,
            "poison_tenant": self._poison,
            "bad_version": self._roll_out,
            "traffic_burst": self._burst,
        }
        return make[wish.fault](wish)

    def remove(self, identity: str) -> bool:
        """The rollout is taken back in every process, the generator told to stop."""
        for record in self.active():
            if record.id == identity and record.fault == "bad_version":
                self._control().roll_out({FLAG: None})
        return self._kept.end(identity)

    def clear(self) -> int:
        """All of them."""
        return attempt_all(partial(self.remove, record.id) for record in self.active())

    def active(self) -> list[Record]:
        """What still runs: somebody may have ended the rollout, or set the flag."""
        records = self._kept.active()
        if not any(record.fault == "bad_version" for record in records):
            return records
        try:
            running = self._control().rollouts().get(FLAG, {})
        except ControlError:
            return records
        over = [record for record in records if record.fault == "bad_version" and _salt(record) != running.get("salt")]
        for record in over:
            self._kept.forget(record.id)
        return [record for record in records if record not in over]

    def _poison(self, wish: Wish) -> Record:
        if wish.on not in TOLD and wish.on.rpartition("-")[0] not in TOLD:
            raise BadFault(f"{wish.on} is not told whose request it is; those that are: {', '.join(TOLD)}")
        clients = self._control().call("GET", "/clients", service="gateway")["clients"]
        if wish.parameters["client"] not in clients:
            raise BadFault(f"there is no client {wish.parameters['client']!r}; there are: {', '.join(clients)}")
        return self._services.apply(wish)

    def _roll_out(self, wish: Wish) -> Record:
        if wish.on != "users":
            raise BadFault(f"{wish.on} has no versions; users has")
        control = self._control()
        if running := control.rollouts().get(FLAG):
            raise BadFault(f"{FLAG} = {running['value']} is being rolled out; costlab rollout abort ends that")
        if (usual := control.flags()[FLAG]) != USUAL:
            raise BadFault(f"{FLAG} is {usual} already; costlab flags set {FLAG}={USUAL} puts it back")
        record = Record.of(wish, time.time())
        version, percent = wish.parameters["version"], wish.parameters["percent"]
        with self._kept.kept(record, _NOTHING):
            rollout = {"value": version, "percent": percent, "salt": _salt(record), "seconds": wish.ttl}
            try:
                control.roll_out({FLAG: rollout})
            except BaseException:
                with suppress(ControlError):  # the first reason is the one to tell
                    control.roll_out({FLAG: None})
                raise
        return record

    def _burst(self, wish: Wish) -> Record:
        if wish.on != "gateway":
            raise BadFault(f"traffic comes in at the gateway, not at {wish.on}")
        if (requests := wish.parameters["per_second"] * wish.ttl) > LARGEST_BURST:
            raise BadFault(f"a burst has at most {LARGEST_BURST} requests, this would be {requests:.0f}")
        # It takes a second or more to start, and its time counts from its first request; it ends by itself, so it may
        # be there before its keeper is.
        generator = _generator(self._stack.base_url(), wish)
        record = Record.of(wish, time.time())
        with self._kept.kept(record, {"end": [generator]}):
            return record

    def _control(self) -> Control:
        return Control(self._stack.internal_urls(), self._stack.token())


def _salt(record: Record) -> str:
    """The same users for the same seed; and the mark that the rollout is a fault's."""
    return f"chaos-{record.seed}"


def _generator(base_url: str, wish: Wish) -> list[int | str]:
    """Its pid and when it started; it has left us behind, and sends, by the time this returns."""
    said = wish.parameters
    arguments = [base_url, said["traffic"], said["per_second"], wish.ttl, wish.seed]
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    # The shell is gone at once and its child nobody's; what is read ends when the generator lets go of it.
    command = ["sh", "-c", '"$@" &', "sh", sys.executable, "-m", "costlab.lab.load.burst", *map(str, arguments)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=_START_SECONDS, start_new_session=True, check=True,
        )  # fmt: skip
        pid, started = done.stdout.split(maxsplit=1)
    except ValueError:
        said_last = done.stderr.strip().splitlines() or ["no reason given"]
        raise StackError(f"the generator did not start: {said_last[-1]}") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"the generator did not start: {error}") from error
    return [int(pid), started.strip()]
