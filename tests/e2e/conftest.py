"""A whole local stack for the tests that need one, on ports and in a state folder of its own."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Any

import pytest

from costlab.stack import Stack, open_stack, ports
from costlab.stack.control import Control
from tests.collector import Collector


@dataclass
class Reply:
    """What the gateway answered; names of headers are found in any case."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Speaks to the gateway as a person with curl would."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, None, headers)

    def post(self, path: str, document: object, **headers: str) -> Reply:
        return self.send("POST", path, json.dumps(document).encode(), {"Content-Type": "application/json"} | headers)

    def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        request = urllib.request.Request(self.base_url + path, body, {"X-Api-Key": "demo"} | headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return Reply(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read())


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the stack of the session sends its spans."""
    made = Collector()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Stack:
    """Up once for the session, down at its end."""
    base = ports.keep_base()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COSTLAB_OTLP_ENDPOINT", collector.url)
        running = open_stack("local", state=tmp_path_factory.mktemp("stack"), port_base=base)
    running.up(lambda line: None)
    yield running
    running.down(volumes=True)
    ports.give_back(base)


@pytest.fixture
def control(stack: Stack) -> Control:
    """Flags of the stack; every flag is back at its default when the test ends."""
    plane = Control(stack.internal_urls(), stack.token())
    yield plane
    plane.set_flags(dict.fromkeys(plane.flags()))


@pytest.fixture
def client(stack: Stack) -> Client:
    return Client(stack.base_url())


@pytest.fixture(scope="session")
def replicated_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A second stack, with three instances of users, for tests that need more than one to choose from."""
    base = ports.keep_base()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COSTLAB_USERS_REPLICAS", "3")
        running = open_stack("local", state=tmp_path_factory.mktemp("replicated"), port_base=base)
    running.up(lambda line: None)
    yield running
    running.down(volumes=True)
    ports.give_back(base)


@pytest.fixture
def replicated_control(replicated_stack: Stack) -> Iterator[Control]:
    """Its flags; every flag is back at its default, and every instance runs, when the test ends."""
    plane = Control(replicated_stack.internal_urls(), replicated_stack.token())
    yield plane
    for service in replicated_stack.status():
        if not service.healthy and service.internal_port:
            replicated_stack.start(service.name)
    plane.set_flags(dict.fromkeys(plane.flags()))


@pytest.fixture
def replicated_client(replicated_stack: Stack) -> Client:
    return Client(replicated_stack.base_url())
