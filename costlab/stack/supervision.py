"""The supervisor of a local stack: its configuration file, the scripts it runs, and its remote interface.

supervisord (https://supervisord.org) is started in the state folder and leaves the terminal. It starts nothing by
itself; local.py says what to start and when. What it keeps running it starts again after a crash: at once, and then
after 1, 2, 3, ... seconds while the process does not stay up for a second.

Each service is a shell script ``run/<name>.sh`` that sets its environment and becomes the service. So a path or a
password may contain anything, where supervisord's own configuration would read ``%``, ``;`` or ``"`` in it as its own;
and a new environment takes no more than a new script and a restart.
"""

import http.client
import os
import shlex
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costlab.stack import ROOT, StackError
from costlab.stack.processes import MARK
from costlab.stack.unix_http import UnixConnection

_SOCKET = "supervisor.sock"
_CONFIGURATION = "supervisord.conf"
_START_SECONDS = 10.0
_ANSWER_SECONDS = 5.0
# sockaddr_un holds 108 bytes on Linux and 104 on macOS, and supervisord appends its pid while it makes the socket.
_LONGEST_SOCKET_PATH = 90
_UNWANTED = ("GUNICORN_CMD_ARGS", "PROMETHEUS_MULTIPROC_DIR")

_HEAD = """\
; Written by costlab at every start. Paths are relative to this folder.
[unix_http_server]
file={socket}
chmod=0600
[supervisord]
logfile=logs/supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile=supervisord.pid
{user}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
_PROGRAM = """\
[program:{name}]
command=/bin/sh {script}
autostart=false
autorestart={autorestart}
startsecs={startsecs}
startretries=20
stopsignal={stopsignal}
stopwaitsecs=25
killasgroup=true
redirect_stderr=true
stdout_logfile=logs/{name}.log
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=1
{user}
"""


@dataclass(frozen=True)
class Program:
    """What supervisord keeps running. ``user``: another account to run as; ``script``: where its script goes."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path = ROOT
    once: bool = False
    stop_signal: str = "TERM"
    user: str | None = None
    script: Path | None = None


@dataclass(frozen=True)
class ProgramState:
    """What supervisord knows of a program; ``state`` is its word: STOPPED, STARTING, RUNNING, BACKOFF, EXITED ..."""

    state: str
    pid: int | None
    exit_code: int

    @property
    def alive(self) -> bool:
        return self.state in ("STARTING", "RUNNING")


class Supervisor:
    """The supervisord of one state folder."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def answers(self) -> bool:
        """Whether it runs and can be spoken to."""
        if not (self._state / _SOCKET).exists():
            return False
        try:
            return self._call("getState")["statename"] == "RUNNING"
        except StackError:
            return False

    def pid(self) -> int:
        return self._call("getPID")

    def programs(self) -> dict[str, ProgramState]:
        return {
            item["name"]: ProgramState(item["statename"], item["pid"] or None, item["exitstatus"])
            for item in self._call("getAllProcessInfo")
        }

    def start(self, name: str) -> None:
        self._call("startProcess", name, False)

    def stop(self, names: Sequence[str], patience: float) -> None:
        """Stop them together and wait until none runs; supervisord itself kills what does not end in 25 seconds."""
        self.ask_to_stop(names)
        deadline = time.monotonic() + patience
        while running := [name for name, state in self.programs().items() if name in names and state.pid]:
            if time.monotonic() > deadline:
                raise StackError(f"still running after {patience:.0f} s: {', '.join(running)}")
            time.sleep(0.03)

    def ask_to_stop(self, names: Sequence[str]) -> None:
        """Send them the signal to stop, and do not start them again when they end."""
        for name, state in self.programs().items():
            if name in names and state.state in ("STARTING", "RUNNING", "BACKOFF"):
                self._call("stopProcess", name, False)

    def shutdown(self) -> None:
        """Stop everything and leave, without waiting."""
        self._call("shutdown")

    def launch(self, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        """Start supervisord, with nothing running yet; returns when it answers."""
        for folder in ("logs", "run", "tmp"):
            (self._state / folder).mkdir(exist_ok=True)
        for program in programs:
            self.write_script(program)
        (self._state / _SOCKET).unlink(missing_ok=True)
        with _reachable(self._state / _SOCKET) as socket:
            (self._state / _CONFIGURATION).write_text(self._configuration(programs, self._shown(socket)))
            self._start_daemon(environment)
        self._wait_answering()

    def write_script(self, program: Program) -> None:
        """The script of ``program``; takes effect the next time it is started."""
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in program.environment.items())
        script = self._script(program)
        script.write_text(
            f"# Written by costlab at every start.\n{exports}cd {shlex.quote(str(program.folder))} &&\n"
            f"exec {shlex.join(program.command)}\n"
        )

    def log(self, name: str) -> Path:
        """The log file of a program."""
        return self._state / "logs" / f"{name}.log"

    def _script(self, program: Program) -> Path:
        return program.script or self._state / "run" / f"{program.name}.sh"

    def _start_daemon(self, environment: Mapping[str, str]) -> None:
        inherited = {name: value for name, value in environment.items() if _is_inherited(name)}
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", _CONFIGURATION],
            cwd=self._state, env={**inherited, MARK: str(self._state)}, start_new_session=True,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
            raise StackError(f"the supervisor does not start: {last[0]}")

    def _configuration(self, programs: Sequence[Program], socket: Path) -> str:
        root = "user=root" if os.geteuid() == 0 else ""
        return _HEAD.format(socket=socket, user=root) + "".join(
            _PROGRAM.format(
                name=program.name,
                script=self._shown(self._script(program)),
                autorestart="false" if program.once else "true",
                startsecs=0 if program.once else 1,
                stopsignal=program.stop_signal,
                user=f"user={program.user}" if program.user else "",
            )
            for program in programs
        )

    def _shown(self, path: Path) -> Path:
        """Relative where it can be: a state folder may have any name."""
        return path.relative_to(self._state) if path.is_relative_to(self._state) else path

    def _wait_answering(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            if time.monotonic() > deadline:
                raise StackError(f"the supervisor did not answer within {_START_SECONDS:.0f} s")
            time.sleep(0.02)

    def _call(self, method: str, *arguments: object) -> Any:
        with _reachable(self._state / _SOCKET) as path:
            transport = _Transport(path)
            proxy = xmlrpc.client.ServerProxy("http://localhost", transport)
            try:
                return getattr(proxy.supervisor, method)(*arguments)
            except xmlrpc.client.Fault as fault:
                raise StackError(f"supervisor: {fault.faultString}") from fault
            except (OSError, xmlrpc.client.Error, http.client.HTTPException) as error:
                raise StackError(f"the supervisor of {self._state} does not answer: {error}") from error
            finally:
                transport.close()


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> UnixConnection:
        self._connection = host, UnixConnection(self._path, _ANSWER_SECONDS)
        return self._connection[1]


@contextmanager
def _reachable(socket: Path) -> Iterator[Path]:
    """A path to ``socket`` that is short enough to connect to."""
    if len(os.fsencode(socket)) <= _LONGEST_SOCKET_PATH:
        yield socket
        return
    with tempfile.TemporaryDirectory(prefix="costlab-", dir="/tmp") as folder:  # TMPDIR may be as long
        link = Path(folder) / "state"
        link.symlink_to(socket.parent)
        yield link / socket.name


def _is_inherited(variable: str) -> bool:
    """Of the user's environment, all but what would configure a service past docker-compose.yml."""
    return not variable.startswith("COSTLAB_") and variable not in _UNWANTED
