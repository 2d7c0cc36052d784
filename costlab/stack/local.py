"""The stack as processes on loopback: no Docker, no root, nothing left behind.

state/                      one folder per stack (.costlab/local)
├── stack.json              the settings it was started with; there while it is up
├── lock                    held by the one costlab that starts or stops it
├── supervisord.conf, .pid, supervisor.sock, run/   see supervision.py
├── logs/<service>.log
├── control/token           written by prepare
├── chaos/                  records of faults that need a keeper, see kept_faults.py
├── seeing/                 configuration files of Prometheus, Grafana and Jaeger, see seeing.py
├── tmp/                    temporary files of the services, removed when the stack is down
├── postgres/               see database_folder.py
├── redis/                  its append-only file
└── prometheus/, grafana/   their data, where they run
"""

import json
import os
import re
import shutil
import signal as signals
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from costlab.stack import (
    ServiceStatus,
    StackError,
    Usage,
    log_files,
    page,
    ports,
    processes,
    restarting,
    seeing,
    wire,
)
from costlab.stack.binaries import beside as find_beside
from costlab.stack.binaries import postgres as find_postgres
from costlab.stack.binaries import redis as find_redis
from costlab.stack.binaries import toxiproxy as find_toxiproxy
from costlab.stack.bring_up import bring_up
from costlab.stack.database_folder import DatabaseFolder
from costlab.stack.kept_faults import KeptFaults, end_all
from costlab.stack.lock import alone
from costlab.stack.pausing import PausableTree
from costlab.stack.readiness import is_ready
from costlab.stack.supervision import Program, ProgramState, Supervisor
from costlab.stack.topology import APPARATUS, EMBEDDED, INTERNAL, PUBLIC, Service, Topology

STOP_SECONDS = 30.0
_BESIDE_SECONDS = 60.0
_PASSWORD = "POSTGRES_PASSWORD"  # noqa: S105 - the name of a variable
_SUPERVISOR = "supervisor"

Report = Callable[[str], None]


class LocalStack:
    """The services of docker-compose.yml as processes of this machine, kept running by a supervisor."""

    name = "local"

    def __init__(self, state: Path, environment: Mapping[str, str], file: Path = ports.COMPOSE_FILE) -> None:
        self.folder = self._state = state
        self.faults_folder = state / "chaos"
        self._given = dict(environment)
        self._file = file
        self._supervisor = Supervisor(state)
        self._record = state / "stack.json"
        self._database = DatabaseFolder(state)
        self._left_out = seeing.LeftOut(state)
        self._absent: set[str] = set()  # what the stack being started goes without
        self._read: tuple[dict[str, str], Topology] | None = None

    # Up and down

    def up(self, report: Report) -> None:
        """Start what does not run; on failure stop everything again and say why in one line."""
        topology = self._topology()
        with _disk_errors(self._state), alone(self._state / "lock", report):
            self._refuse_another_wire()
            needed = [service for service in self._lasting() if service.name not in seeing.NAMES]
            if self._supervisor.answers() and all(map(is_ready, needed)):
                report(f"the stack runs already: {self.base_url()}")
                return
            try:
                self._start(topology, report)
            except BaseException:
                with _uninterrupted():
                    self._stop()
                raise
        report(f"the stack is up: {self.base_url()}")
        for row in self.status():
            if row.name in seeing.NAMES:
                report(f"{row.name}: {row.url}")

    def down(self, volumes: bool = False) -> None:
        """Stop everything and return when it is gone; ``volumes`` removes the data too."""
        if not self._state.exists():
            return
        with _disk_errors(self._state), alone(self._state / "lock", _say_nothing):
            self._stop()
            if volumes:
                self._database.remove()
                shutil.rmtree(self._state)

    # Looking

    def status(self) -> list[ServiceStatus]:
        """One row for each service, then the supervisor's own."""
        running = self._programs()
        rows = [self._row(service, running.get(service.name)) for service in self._lasting()]
        if not running:
            # Its record outlives a supervisor that was killed, or a machine that lost power.
            state = "killed" if self._record.exists() else "stopped"
            return [*rows, ServiceStatus(_SUPERVISOR, state, False, None, None, None, 0.0, 0, 0)]
        pid, used = self._supervisor.pid(), self._own_usage()
        own = ServiceStatus(_SUPERVISOR, "running", True, pid, None, None, used.cpu_seconds, used.memory_bytes, 1)
        return [*rows, own]

    def left_out(self) -> dict[str, str]:
        """What was to be there to see it with and could not start, and why."""
        return self._left_out.read()

    def logs(self, service: str | None = None, follow: bool = False) -> Iterator[str]:
        """Lines of one service's log, or of all with the service's name in front."""
        known = [*self._topology().services, _SUPERVISOR]
        if service is not None and service not in known:
            raise StackError(f"no service {service!r}; there are {', '.join(known)}")
        chosen = [service] if service else known
        files = {name: self._supervisor.log("supervisord" if name == _SUPERVISOR else name) for name in chosen}
        if not any(file.exists() for file in files.values()):
            raise StackError(f"no logs in {self._state}: the stack was never up (costlab up)")
        return log_files.lines(files, follow)

    def base_url(self) -> str:
        """The gateway's public address."""
        return f"http://127.0.0.1:{self._service('gateway').port(PUBLIC)}"

    def internal_urls(self) -> dict[str, str]:
        """Instance to internal address."""
        services = [service for service in self._lasting() if INTERNAL in service.listens]
        return {service.name: f"http://127.0.0.1:{service.port(INTERNAL)}" for service in services}

    def token(self) -> str:
        """What it takes to change flags."""
        file = self._service("gateway").environment["COSTLAB_TOKEN_FILE"]
        try:
            return Path(file).read_text().strip()
        except OSError as error:
            raise StackError(f"no control token in {file} ({error.strerror}): is the stack up? (costlab up)") from error

    def dsn(self, role: str = "lab") -> str:
        """The database as ``role``."""
        postgres = self._service("postgres")
        return f"postgresql://{role}:{postgres.environment[_PASSWORD]}@127.0.0.1:{postgres.port(5432)}/costlab"

    def redis_url(self) -> str:
        """The Redis of this stack."""
        return f"redis://127.0.0.1:{self._service('redis').port(6379)}/0"

    def usage(self) -> dict[str, Usage]:
        """What all processes of each service have used, the supervisor's included."""
        running = self._programs()
        if not running:
            raise StackError("the stack is not up (costlab up)")
        trees: dict[str, list[processes.Process]] = {}
        for service in self._lasting():
            if service.name not in APPARATUS:
                trees.setdefault(service.service, []).extend(_tree(running.get(service.name)))
        used = {name: processes.usage(tree) for name, tree in trees.items() if tree}
        return {**used, _SUPERVISOR: self._own_usage()}

    def toxiproxy_url(self) -> str | None:
        """Where toxiproxy takes orders; None where it is not in between."""
        toxiproxy = self._topology().services.get(wire.TOXIPROXY)
        return f"http://127.0.0.1:{toxiproxy.port(wire.API)}" if toxiproxy else None

    # Harm and repair

    def kill(self, service: str, signal: int) -> None:
        """Send ``signal`` to every process of ``service``; the supervisor starts again what dies of it."""
        found = _tree(self._programs().get(self._service(service).name))
        if not found:
            raise StackError(f"{service} does not run")
        processes.send(found, signal)

    def pausable(self, service: str) -> PausableTree:
        """Its first process and all below it."""
        state = self._programs().get(self._service(service).name)
        if state is None or not state.pid:
            raise StackError(f"{service} does not run")
        return PausableTree(state.pid)

    def stop(self, service: str) -> None:
        """Stop ``service`` in an orderly way and leave it stopped; returns when it is gone."""
        with self._of_running_stack(service):
            KeptFaults(self.faults_folder, "process").end_on([service])
            self._halt([service])

    def start(self, service: str) -> None:
        """Start ``service`` after ``stop``, as it was; returns when ready."""
        with self._of_running_stack(service):
            bring_up(self._supervisor, [self._service(service)], _say_nothing)

    def restart(self, *services: str) -> None:
        """Stop ``services`` and start them with the settings of the environment as it is now; returns when ready."""
        with self._of_running_stack(*services):
            topology = self._translated({**self._given, **os.environ, **_fixed(self._recorded())})
            changed = [service for name, service in topology.services.items() if name in services]
            programs = [self._program(service) for service in changed]
            KeptFaults(self.faults_folder, "process").end_on(services)
            self._halt(services)
            for program in programs:
                self._supervisor.write_script(program)
            bring_up(self._supervisor, changed, _say_nothing)

    @contextmanager
    def _of_running_stack(self, *services: str) -> Iterator[None]:
        """Nobody else starts or stops anything meanwhile; ``services`` are known to a supervisor that runs."""
        for service in services:
            self._service(service)
        with _disk_errors(self._state), alone(self._state / "lock", _say_nothing):
            if absent := [service for service in services if service not in self._programs()]:
                raise StackError(f"{', '.join(absent)}: the stack is not up (costlab up)")
            yield

    # Starting

    def _start(self, topology: Topology, report: Report) -> None:
        if self._supervisor.answers():
            report("the stack is only partly up; starting the rest")
        else:
            self._clear_away(report)
            self._leave_out_what_cannot_start(report)
            topology = self._topology()
            ports.refuse_taken(topology.ports())
            self._launch(topology, report)
        if not self._bring_up_beside("jaeger", report):
            topology = self._topology()
            for service in topology.services.values():  # without its address
                self._supervisor.write_script(self._program(service))
        needed = [service for name, service in topology.services.items() if name not in seeing.NAMES]
        bring_up(self._supervisor, needed, report)
        for name in ("prometheus", "grafana"):
            self._bring_up_beside(name, report)

    def _leave_out_what_cannot_start(self, report: Report) -> None:
        """Of Prometheus, Grafana and Jaeger: what this machine has not, and, worth a word, whose port is taken."""
        shown = seeing.shown(self._settings(self._given))
        self._absent = {name for name in shown if not _is_found(name)}
        self._read = None
        for name in [name for name in shown if name not in self._absent]:
            service = self._service(name)
            taken = ((port, ports.taken_by(port)) for port in map(service.port, service.listens))
            if found := next(((port, holder) for port, holder in taken if holder), None):
                self._leave_out(name, f"port {found[0]} is taken by {found[1]}", report)

    def _leave_out(self, name: str, reason: str, report: Report) -> None:
        """Go without ``name``."""
        report(f"warning: {name} is left out: {reason}")
        self._left_out.write({**self._left_out.read(), name: reason})
        self._absent.add(name)
        self._read = None

    def _bring_up_beside(self, name: str, report: Report) -> bool:
        """Wait until ``name`` is ready, if it is there; False when it had to be left out."""
        if name not in self._topology().services:
            return True
        try:
            bring_up(self._supervisor, [self._service(name)], report, _BESIDE_SECONDS)
            return True
        except StackError as error:
            self._supervisor.stop([name], STOP_SECONDS)
            self._leave_out(name, str(error).removeprefix(f"{name} "), report)
            self._write_record({**self._given, **self._recorded()})
            return False

    def _refuse_another_wire(self) -> None:
        """Who is asked for toxiproxy and has not got it running must say so."""
        if self._supervisor.answers() and wire.is_on(self._given) and self.toxiproxy_url() is None:
            raise StackError(
                "the stack runs already, without toxiproxy in between: costlab down, then costlab up --wire"
            )

    def _clear_away(self, report: Report) -> None:
        """What a killed supervisor left: processes, its socket, a record that holds no longer."""
        if left := self._end_ours():
            report(f"ended {left} processes that a killed supervisor had left behind")
        self._forget()

    def _launch(self, topology: Topology, report: Report) -> None:
        for name in ("control", "redis", "run"):
            (self._state / name).mkdir(mode=0o700, exist_ok=True)
        if "postgres" in topology.services and not self._database.exists():
            report("making a PostgreSQL cluster")
        programs = [self._program(service) for service in topology.services.values()]
        self._write_record(self._given)
        self._supervisor.launch(programs, self._given)

    def _write_record(self, environment: Mapping[str, str]) -> None:
        self._record.touch(mode=0o600)
        self._record.write_text(json.dumps(_costlab(self._settings(environment)), indent=2))

    def _program(self, service: Service) -> Program:
        if service.name == "postgres":
            return self._postgres(service)
        if service.name == "redis":
            return self._redis(service)
        if service.name == wire.TOXIPROXY:
            return self._toxiproxy(service)
        if service.name in seeing.NAMES:
            return self._beside(service)
        scratch = self._state / "tmp" / service.name
        scratch.mkdir(parents=True, exist_ok=True)
        environment = {**service.environment, "TMPDIR": str(scratch)}
        return Program(service.name, _command(service), environment, once=service.once)

    def _postgres(self, service: Service) -> Program:
        password, database = service.environment[_PASSWORD], service.environment["POSTGRES_DB"]
        found = self._database.prepare(find_postgres(), password, database)
        options = service.command[1:]
        if not found.has_statements:
            options = tuple(option for option in options if "pg_stat_statements" not in option)
        here = ["-clisten_addresses=127.0.0.1", "-cunix_socket_directories=", f"-cport={service.port(5432)}"]
        account = self._database.account
        return Program(
            service.name,
            [str(found.folder / "postgres"), "-D", str(self._database.data), *options, *here],
            {"LC_ALL": "C"},
            folder=self._database.data,
            stop_signal="INT",  # its fast shutdown: without waiting for clients
            user=account.name if account else None,
            script=self._database.path / "start.sh",
        )

    def _redis(self, service: Service) -> Program:
        folder = self._state / "redis"
        here = ["--bind", "127.0.0.1", "--port", str(service.port(6379)), "--dir", str(folder)]
        return Program(service.name, [str(find_redis().program), *service.command[1:], *here], {}, folder=folder)

    def _toxiproxy(self, service: Service) -> Program:
        folder = self._state / wire.TOXIPROXY
        folder.mkdir(exist_ok=True)
        proxies = wire.on_loopback(service.port, self._service)
        (folder / "proxies.json").write_text(json.dumps(proxies, indent=2))
        here = ["-host=127.0.0.1", f"-port={service.port(wire.API)}", "-config=proxies.json"]
        return Program(service.name, [str(find_toxiproxy().program), *here], service.environment, folder=folder)

    def _beside(self, service: Service) -> Program:
        name, topology = service.name, self._topology()
        folder = self._state / seeing.FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        seeing.write(
            name,
            service.volumes,
            self._state,
            lambda document: topology.document(name, document, self._state),
            topology.addresses,
        )
        program, port = find_beside(name).program, service.port(service.listens[0])
        here = seeing.environment(name, port, self._state)
        command = [str(program), *seeing.arguments(name, program, port), *service.command]
        return Program(name, command, {**service.environment, **here}, folder=folder)

    # Stopping

    def _halt(self, names: Sequence[str]) -> None:
        """Stop them as the flag service.shutdown says; PostgreSQL and Redis always in an orderly way."""
        at_once = restarting.shutdown_kind(self.redis_url()) == "kill"
        doomed = [name for name in names if name not in (*EMBEDDED, *APPARATUS)] if at_once else []
        found = [process for name in doomed for process in _tree(self._programs().get(name))]
        # Held still, so that nothing acts upon the supervisor's SIGTERM before it is killed.
        processes.send(found, signals.SIGSTOP)
        try:
            self._supervisor.ask_to_stop(names)
        finally:
            processes.send(found, signals.SIGKILL)
        self._supervisor.stop(names, STOP_SECONDS)

    def _stop(self) -> None:
        """Services first, then PostgreSQL, Redis and the supervisor; returns when all are gone."""
        end_all(self.faults_folder)  # who is paused cannot stop in an orderly way
        if self._supervisor.answers():
            # Whatever does not end in an orderly way, the supervisor included, is ended below.
            with suppress(StackError):
                self._supervisor.stop([name for name in self._programs() if name not in EMBEDDED], STOP_SECONDS)
                self._supervisor.shutdown()
            processes.wait_gone(self._ours(), STOP_SECONDS)
        self._end_ours()
        self._forget()

    def _end_ours(self) -> int:
        """End what is left of the stack, the servers last; how many processes there were."""
        left = self._ours()
        servers = [process for process in left if processes.is_server(process)]
        others = [process for process in left if process not in servers]
        return processes.end(others, STOP_SECONDS) + processes.end(servers, STOP_SECONDS)

    def _ours(self) -> list[processes.Process]:
        return processes.ours(self._state, [self._database.data, self._state / "redis"])

    def _forget(self) -> None:
        for name in ("stack.json", "supervisor.sock", "supervisord.pid"):
            (self._state / name).unlink(missing_ok=True)
        shutil.rmtree(self._state / "tmp", ignore_errors=True)
        self._left_out.forget()
        self._absent.clear()
        self._read = None

    # What it is made of

    def _topology(self) -> Topology:
        """As it was started, or would be."""
        recorded = self._recorded()
        if self._read is None or self._read[0] != recorded:
            self._read = recorded, self._translated({**self._given, **recorded})
        return self._read[1]

    def _translated(self, environment: Mapping[str, str]) -> Topology:
        return Topology.read(self._file, self._settings(environment)).on_loopback(self._state)

    def _settings(self, environment: Mapping[str, str]) -> dict[str, str]:
        password = environment.get("COSTLAB_DB_PASSWORD", "")
        if not re.fullmatch(r"[A-Za-z0-9._~-]*", password):
            raise StackError("COSTLAB_DB_PASSWORD becomes part of URLs; it may hold letters, digits and . _ ~ - only")
        through = "on" if wire.is_on(environment) else "off"
        without = {*seeing.left_out(environment.get(seeing.WITHOUT, "")), *self._absent}
        chosen = {wire.VARIABLE: through, seeing.WITHOUT: ",".join(sorted(without))}
        return {**ports.moved(environment, self._file), **environment, **chosen}

    def _recorded(self) -> dict[str, str]:
        """The settings that the running stack was started with; nothing when none runs."""
        try:
            return json.loads(self._record.read_text())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StackError(f"{self._record} cannot be read: {error.strerror} (COSTLAB_STATE moves it)") from error
        except ValueError as error:
            raise StackError(f"{self._record} is damaged: remove it, then costlab down ends what runs") from error

    def _lasting(self) -> list[Service]:
        return [service for service in self._topology().services.values() if not service.once]

    def _service(self, name: str) -> Service:
        services = self._topology().services
        if name not in services:
            raise StackError(f"no service {name!r}; there are {', '.join(services)}")
        return services[name]

    def _programs(self) -> dict[str, ProgramState]:
        """What the supervisor says; nothing when it does not run."""
        return self._supervisor.programs() if self._supervisor.answers() else {}

    def _row(self, service: Service, state: ProgramState | None) -> ServiceStatus:
        tree = _tree(state)
        used = processes.usage(tree)
        return ServiceStatus(
            name=service.name,
            state=state.state.lower() if state else "stopped",
            healthy=bool(tree) and is_ready(service),
            pid=state.pid if state else None,
            port=service.port(service.listens[0]),
            internal_port=service.port(INTERNAL) if INTERNAL in service.listens else None,
            cpu_seconds=used.cpu_seconds,
            memory_bytes=used.memory_bytes,
            processes=len(tree),
            url=page(service.name, service.port(service.listens[0])),
        )

    def _own_usage(self) -> Usage:
        """The supervisor alone: its children that ended are not its own work."""
        return processes.usage(processes.tree(self._supervisor.pid())[:1], with_children=False)


def _tree(state: ProgramState | None) -> list[processes.Process]:
    return processes.tree(state.pid) if state and state.pid else []


def _is_found(name: str) -> bool:
    try:
        find_beside(name)
    except StackError:
        return False
    return True


def _command(service: Service) -> list[str]:
    """The container's command with this interpreter and the programs installed beside it."""
    name, *arguments = service.command
    if name == "python":
        return [sys.executable, *arguments]
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        raise StackError(f"{service.name} needs {name}, which is not in {program.parent}: make installs it")
    return [sys.executable, str(program), *arguments]


def _costlab(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("COSTLAB_")}


def _fixed(recorded: Mapping[str, str]) -> dict[str, str]:
    """Settings that a running stack cannot change for one service alone."""
    fixed = ("_PORT", "_PORT_BASE", "_PASSWORD", "_REPLICAS", wire.VARIABLE, seeing.VARIABLE, seeing.WITHOUT)
    return {name: value for name, value in recorded.items() if name.endswith(fixed)}


def _say_nothing(_line: str) -> None:
    """Where nobody waits for progress."""


@contextmanager
def _disk_errors(state: Path) -> Iterator[None]:
    """No disk, no permission: one line that names the file."""
    try:
        yield
    except OSError as error:
        raise StackError(f"{error.filename or state}: {error.strerror or error}") from error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A second Ctrl-C does not keep a failed start from being cleared away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signals.signal(signals.SIGINT, signals.SIG_IGN)
    try:
        yield
    finally:
        signals.signal(signals.SIGINT, before)
