"""The control plane of a running stack, from outside: set flags, wait until every process has them, read metrics.

The command line and the experiment runner both speak to a stack through this.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException

from prometheus_client.parser import text_string_to_metric_families

from costlab.failure import Failure

APPLIED_SECONDS = 5.0
MADE_SECONDS = 60.0
ANSWER_SECONDS = 3.0
_REVISION = "costlab_flags_revision"
_PENDING = "costlab_flag_pending"
_CONFIG = "costlab_config_revision"


class ControlError(Failure):
    """A service's internal port did not do what was asked."""


class NotThere(ControlError):
    """The service has nothing under that path."""


class Control:
    """The internal ports of a stack's services. ``urls`` maps service names to base URLs."""

    def __init__(self, urls: Mapping[str, str], token: str) -> None:
        self._urls = dict(urls)
        self._token = token

    def flags(self, service: str | None = None) -> dict[str, object]:
        """The values in force, in ``service`` or in any."""
        return self.call("GET", "/flags", service=service)["flags"]

    def set_flags(self, changes: Mapping[str, object]) -> int:
        """Set ``changes`` (None: back to the default) and return the revision once they are in force.

        Every process has then applied it, and what a change takes (an index, another memory layout) is made.
        """
        revision = self.call("PATCH", "/flags", changes)["revision"]
        self._wait_until_applied(revision)
        self._wait_until_made(set(changes))
        return revision

    def rollouts(self) -> dict[str, dict]:
        """What is rolled out, by flag: value, percent, salt, until and seconds_left."""
        return self.call("GET", "/rollouts")["rollouts"]

    def roll_out(self, rollouts: Mapping[str, Mapping[str, object] | None]) -> int:
        """Put ``rollouts`` in force (value, percent; salt and seconds to live if given), or end those that are None."""
        revision = self.call("PATCH", "/rollouts", rollouts)["revision"]
        self._wait_until_applied(revision)
        return revision

    def _wait_until_applied(self, revision: int) -> None:
        deadline = time.monotonic() + APPLIED_SECONDS
        late = list(self._urls)
        while late := [name for name in late if self._applied(name) < revision]:
            if time.monotonic() > deadline:
                raise ControlError(f"{', '.join(late)} did not take over the flags within {APPLIED_SECONDS:.0f} s")
            time.sleep(0.02)

    def configurations(self) -> dict[str, dict]:
        """The configuration document of each service that has one: running, stored, fields."""
        found: dict[str, dict] = {}
        for name in self._urls:
            with suppress(NotThere):
                document = self.call("GET", "/config", service=name)
                found.setdefault(document["service"], document)
        return found

    def set_configuration(self, service: str, changes: Mapping[str, object]) -> int:
        """Store ``changes`` (None: back to the default) in the document of ``service``; the new revision.

        When it is in force depends on the flag ``service.config``.
        """
        return self.call("PATCH", "/config", changes, service)["revision"]

    def configuration_revisions(self, service: str) -> list[int]:
        """The revision of the document of ``service`` that each of its processes runs with."""
        samples = [sample for name in self._urls for sample in self.metrics(name)]
        return [int(value) for name, labels, value in samples if name == _CONFIG and labels["service"] == service]

    def metrics(self, service: str) -> list[tuple[str, dict[str, str], float]]:
        """Every sample of ``service`` over all its processes: name, labels, value."""
        text = _read(urllib.request.Request(f"{self._urls[service]}/metrics")).decode()  # noqa: S310 - loopback
        return [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def _wait_until_made(self, flags: set[str]) -> None:
        deadline = time.monotonic() + MADE_SECONDS
        while pending := flags & self._pending():
            if time.monotonic() > deadline:
                raise ControlError(f"{', '.join(sorted(pending))}: set, but not in force after {MADE_SECONDS:.0f} s")
            time.sleep(0.1)

    def _pending(self) -> set[str]:
        """Flags whose change some process is still at work on."""
        samples = [sample for service in self._urls for sample in self.metrics(service)]
        return {labels["flag"] for name, labels, value in samples if name == _PENDING and value}

    def _applied(self, service: str) -> float:
        """The lowest revision in force in any process of ``service``."""
        return next((value for name, _, value in self.metrics(service) if name == _REVISION), 0)

    def call(self, method: str, path: str, document: object = None, service: str | None = None) -> dict:
        """What the internal port of ``service``, or of any, answers; ControlError when it refuses or is away."""
        url = self._urls[service or next(iter(self._urls))] + path
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(url, body, method=method)  # noqa: S310 - loopback
        request.add_header("Authorization", f"Bearer {self._token}")
        return json.loads(_read(request))


def _read(request: urllib.request.Request) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
            return answer.read()
    except urllib.error.HTTPError as error:
        raise (NotThere if error.code == 404 else ControlError)(_detail(error)) from error
    except (OSError, HTTPException) as error:  # HTTPException: killed while it answered
        raise ControlError(f"no stack answers at {request.full_url}: is one up? (costlab status)") from error


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return json.load(error)["detail"]
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return f"{error.url} answered {error.code}"
