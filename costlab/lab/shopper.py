"""Customers who place orders at a steady low rate while things break, each order until it is accepted.

    accepted: idempotency key ─► order id      what the system has promised; soak.py holds it to that

Whatever else is answered than 201 or 200 (the same order once more), or nothing at all, is asked again under the same
key. All orders are those of one user, made for this, so that they can be counted.
"""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable

from costlab.lab.errors import LabError

CUSTOMERS = 3
PAUSE_SECONDS = 0.4
AGAIN_SECONDS = 0.2
ANSWER_SECONDS = 8.0
_LOST = (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException)


class Shopper:
    """Places orders at ``base_url`` from ``start`` until ``stop``."""

    def __init__(self, base_url: str, api_key: str = "demo") -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._enough = threading.Event()
        self._give_up = threading.Event()
        self._threads = [threading.Thread(target=self._shop, args=[number], daemon=True) for number in range(CUSTOMERS)]
        self.accepted: dict[str, int] = {}
        self.attempts = 0
        self.last_answer = "nothing yet"
        self.user = 0

    def start(self) -> None:
        """Make the user, and begin."""
        name = uuid.uuid4().hex
        reply = self._post("/api/users", {"name": "Soak", "email": f"soak-{name}@example.com"}, name)
        if reply is None:
            raise LabError(f"the soak's own user cannot be made: {self.last_answer}")
        self.user = reply["id"]
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> None:
        """No new orders; LabError when one that was begun is not accepted within ``seconds``."""
        self._enough.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        late = any(thread.is_alive() for thread in self._threads)
        self._give_up.set()
        if late:
            raise LabError(f"an order was not accepted within {seconds:.0f} s; the last answer: {self.last_answer}")

    def wait_for_more(self, seconds: float) -> bool:
        """Whether orders are accepted: every customer's next one, within ``seconds``."""
        wanted = len(self.accepted) + CUSTOMERS
        return _within(seconds, lambda: len(self.accepted) >= wanted)

    def _shop(self, number: int) -> None:
        while not self._enough.is_set():
            key = uuid.uuid4().hex
            order = {"user_id": self.user, "lines": [{"product_id": 1 + number, "quantity": 1}]}
            while not self._give_up.is_set():
                reply = self._post("/api/orders", order, key)
                if reply is not None:
                    self.accepted[key] = reply["id"]
                    break
                self._give_up.wait(AGAIN_SECONDS)
            self._enough.wait(PAUSE_SECONDS)

    def _post(self, path: str, document: object, key: str) -> dict | None:
        """The answer if it is 200 or 201."""
        self.attempts += 1
        request = urllib.request.Request(self._base_url + path, json.dumps(document).encode(), method="POST")  # noqa: S310
        for name, value in (
            ("Content-Type", "application/json"),
            ("X-Api-Key", self._api_key),
            ("Idempotency-Key", key),
        ):
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
                return json.load(answer) if answer.status in (200, 201) else None
        except urllib.error.HTTPError as error:
            with error:
                self.last_answer = f"{error.code} {error.read(200).decode(errors='replace')}"
        except (*_LOST, ValueError) as error:
            self.last_answer = f"{type(error).__name__}: {error}"
        return None


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
