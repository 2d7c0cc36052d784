"""A real Redis of a test's own, to be killed, paused and brought back."""

import shutil
import signal
import socket
import subprocess
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from costlab.stack import binaries
from tests.conditions import eventually


class RedisServer:
    """Redis on a port of its own that writes every command to ``folder`` before it answers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it, with the data it had; returns when it answers."""
        options = f"--port {self._port} --bind 127.0.0.1 --save --appendonly yes --appendfsync always".split()
        self._process = subprocess.Popen(
            [binaries.redis().program, *options, "--dir", self._folder], stdout=subprocess.DEVNULL
        )
        eventually(self._answers)

    def kill(self) -> None:
        """Kill -9; what it wrote stays."""
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """Kill it and lose everything it knew."""
        self.kill()
        shutil.rmtree(self._folder)
        self._folder.mkdir()

    def pause(self) -> None:
        """Stop it in its tracks: connections are accepted by the kernel and never answered."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url) as client:
                return client.ping()
        except RedisError:
            return False
