"""The worker under gunicorn as it is: connections kept, requests at once, an orderly end."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from costlab.service.leader_followers import IN_A_ROW, LeaderFollowersWorker
from tests.conditions import eventually

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="needs epoll (Linux); elsewhere gthread serves")

APP = """
import os, threading, time, pathlib
from costlab.service import leader_followers, shutdown
leader_followers.HEAD_SECONDS = float(os.environ["HEAD_SECONDS"])
meeting = threading.Barrier(3)

def half():
    yield b"12345"
    raise RuntimeError("in the middle")

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/meet":
        meeting.wait(10)
    if path == "/wait":
        pathlib.Path("begun").touch()
        while not pathlib.Path("go-on").exists():
            time.sleep(0.01)
    if path == "/bug":
        raise RuntimeError("password=hunter2")
    if path == "/half":
        start_response("200 OK", [("Content-Length", "10")])
        return half()
    if path == "/stream":
        start_response("200 OK", [])
        return [b"ab", b"", b"cde"]
    if path == "/empty":
        start_response("200 OK", [("Content-Length", "0")])
        return []
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

class Service:
    def leave(self):
        return shutdown.KINDS[os.environ["SHUTDOWN"]]

app.extensions = {"costlab": Service()}
"""


class Server:
    def __init__(self, folder, *options, head_seconds=10, shutdown="drain"):
        (folder / "app.py").write_text(APP)
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        worker = "costlab.service.leader_followers.LeaderFollowersWorker"
        command = ["gunicorn", "-k", worker, "-b", f"127.0.0.1:{self.port}", "--log-level", "warning", *options]
        environment = os.environ | {"HEAD_SECONDS": str(head_seconds), "SHUTDOWN": shutdown}
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command, "app:app"], cwd=folder, stderr=self.log, env=environment
        )
        eventually(self.listens, within=20)

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, path="/"):
        with self.connect() as link:
            return exchange(link, path)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


def send(link, path="/"):
    link.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def receive(link):
    """Status, head and body of one answer; None when the connection ended instead."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = link.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += link.recv(65536)
    return int(head.split()[1]), head.decode().lower(), body


def exchange(link, path="/"):
    send(link, path)
    return receive(link)


@pytest.fixture
def serve(tmp_path):
    with contextlib.ExitStack() as servers:

        def start(*options, **settings):
            server = Server(tmp_path, *options, **settings)
            servers.callback(server.close)
            return server

        yield start


def test_a_connection_is_kept_from_request_to_request(serve):
    server = serve("--threads", "2")
    with server.connect() as link:
        assert [exchange(link)[0] for _ in range(5)] == [200] * 5


def test_as_many_requests_run_at_once_as_there_are_threads(serve):
    """The barrier lets nobody go before three have come."""
    server = serve("--threads", "3")
    links = [server.connect() for _ in range(3)]
    for link in links:
        send(link, "/meet")
    assert [receive(link)[0] for link in links] == [200] * 3
    for link in links:
        link.close()


def test_a_client_that_always_has_a_next_request_lets_others_in_between():
    """Its connection goes back to the others after a few, instead of holding a thread for as long as it likes."""
    worker = LeaderFollowersWorker.__new__(LeaderFollowersWorker)
    answered, put_back = [], []
    worker.handle = lambda connection: answered.append(connection) or True
    worker._epoll = SimpleNamespace(modify=None)
    worker._await_request = lambda connection, arm: put_back.append(connection)
    greedy = SimpleNamespace(has_next=lambda others_may_wait: others_may_wait)
    worker._serve(greedy)
    assert (len(answered), put_back) == (IN_A_ROW, [greedy])


def test_connections_without_a_request_hold_no_thread(serve):
    server = serve("--threads", "1")
    silent = [server.connect() for _ in range(20)]
    assert server.ask()[0] == 200
    for link in silent:
        link.close()


def test_clients_that_are_slow_to_say_what_they_want_do_not_hold_the_threads(serve):
    """Each has sent half a request, and then a byte now and then, which does not buy it more time."""
    server = serve("--threads", "2", head_seconds=0.5)
    slow = [server.connect() for _ in range(5)]
    for link in slow:
        link.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    with server.connect() as link:
        send(link)
        while not select.select([link], [], [], 0.1)[0]:
            for one in slow:
                with contextlib.suppress(ConnectionError):
                    one.sendall(b"x")
        assert receive(link)[0] == 200
    for one in slow:
        one.close()


def test_time_for_the_head_begins_anew_with_each_request(serve):
    server = serve("--threads", "1", head_seconds=0.5)
    with server.connect() as link:
        began = time.monotonic()
        while time.monotonic() - began < 2:
            assert exchange(link)[0] == 200


def test_processes_share_the_socket(serve):
    server = serve("--threads", "2", "--workers", "2")
    seen = set()
    eventually(lambda: seen.add(server.ask()[2]) or len(seen) == 2, within=20)


def test_an_idle_connection_is_closed_after_its_time(serve):
    server = serve("--threads", "2", "--keep-alive", "1")
    with server.connect() as link:
        assert exchange(link)[0] == 200
        assert link.recv(1) == b""


def test_a_connection_over_the_limit_is_served_when_another_ends(serve):
    server = serve("--threads", "1", "--worker-connections", "3")
    held = [server.connect() for _ in range(3)]
    eventually(lambda: _established(server.process.pid) == 3)
    with server.connect() as link:
        send(link)
        link.settimeout(0.3)
        with pytest.raises(TimeoutError):
            link.recv(1)
        held[0].close()
        link.settimeout(10)
        assert receive(link)[0] == 200
    for one in held:
        one.close()


def test_a_bug_is_a_500_that_tells_nothing_and_the_thread_lives_on(serve):
    server = serve("--threads", "1")
    status, head, body = server.ask("/bug")
    assert (status, b"hunter2" in body) == (500, False)
    assert "application/problem+json" in head
    assert server.ask()[0] == 200


def test_an_answer_that_breaks_in_the_middle_ends_the_connection_and_not_the_thread(serve):
    server = serve("--threads", "1")
    with server.connect() as link:
        send(link, "/half")
        assert b"".join(iter(lambda: link.recv(100), b"")).endswith(b"\r\n\r\n12345")
    assert server.ask()[0] == 200


def test_an_answer_without_a_length_is_chunked_and_the_connection_kept(serve):
    server = serve("--threads", "1")
    with server.connect() as link:
        send(link, "/stream")
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            data += link.recv(100)
        assert data.endswith(b"\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
        assert exchange(link, "/empty")[2] == b""
        link.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert link.recv(1000).endswith(b"\r\n\r\n")
        assert exchange(link)[0] == 200


def test_a_client_that_leaves_in_the_middle_harms_nobody(serve):
    server = serve("--threads", "1")
    for message in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
        with server.connect() as link:
            link.sendall(message)
    assert server.ask()[0] == 200


def test_on_sigterm_a_request_begun_is_finished_and_nothing_new_is_accepted(serve):
    server = serve("--threads", "2")
    with server.connect() as link:
        send(link, "/wait")
        eventually((server.folder / "begun").exists)
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: not server.listens())
        (server.folder / "go-on").touch()
        assert receive(link)[0] == 200
    assert server.process.wait(10) == 0


def test_a_request_that_was_on_its_way_at_sigterm_is_answered(serve):
    server = serve("--threads", "2")
    with server.connect() as link, server.connect() as busy:
        assert exchange(link)[0] == 200
        send(busy, "/wait")
        eventually((server.folder / "begun").exists)
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: not server.listens())
        status, head, _ = exchange(link)
        (server.folder / "go-on").touch()
        assert receive(busy)[0] == 200
    assert (status, "connection: close" in head) == (200, True)
    assert server.process.wait(10) == 0


def test_idle_connections_do_not_hold_up_the_end(serve):
    server = serve("--threads", "2", "--keep-alive", "75", "--graceful-timeout", "30")
    with server.connect() as kept, server.connect() as silent:
        assert exchange(kept)[0] == 200
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert kept.recv(1) == silent.recv(1) == b""
    assert server.process.wait(10) == 0
    assert time.monotonic() - started < 6


def test_a_request_that_outlasts_the_grace_time_is_cut_off(serve):
    server = serve("--threads", "2", "--graceful-timeout", "1")
    with server.connect() as link:
        send(link, "/wait")
        eventually((server.folder / "begun").exists)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert link.recv(1) == b""


def test_drain_still_accepts_for_a_second_and_every_answer_ends_its_connection(serve):
    server = serve("--threads", "2", shutdown="drain")
    with server.connect() as kept, server.connect() as busy:
        assert exchange(kept)[0] == 200
        send(busy, "/wait")
        eventually((server.folder / "begun").exists)
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: "connection: close" in server.ask()[1])
        assert "connection: close" in exchange(kept)[1]
        (server.folder / "go-on").touch()
        assert receive(busy)[0] == 200
    assert server.process.wait(10) == 0


def test_term_accepts_nothing_and_keeps_nothing_idle_but_finishes_what_is_begun(serve):
    server = serve("--threads", "2", shutdown="term")
    with server.connect() as idle, server.connect() as busy:
        assert exchange(idle)[0] == 200
        send(busy, "/wait")
        eventually((server.folder / "begun").exists)
        server.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        assert not server.listens()
        (server.folder / "go-on").touch()
        assert receive(busy)[0] == 200
    assert server.process.wait(10) == 0


@pytest.mark.parametrize("kind", ["term", "kill"])
def test_term_and_kill_cut_a_request_that_takes_longer_than_they_wait(serve, kind):
    server = serve("--threads", "2", shutdown=kind)
    with server.connect() as link:
        send(link, "/wait")
        eventually((server.folder / "begun").exists)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert link.recv(1) == b""
        assert time.monotonic() - started >= (1 if kind == "term" else 0)
    assert server.process.wait(10) == 0


def _established(pid):
    """Connections its workers have accepted."""
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(_sockets(worker) - 1 for worker in workers)  # less the one it listens on


def _sockets(pid):
    descriptors = Path(f"/proc/{pid}/fd")
    found = 0
    for descriptor in descriptors.iterdir():
        with contextlib.suppress(OSError):
            found += str(descriptor.readlink()).startswith("socket:")
    return found
