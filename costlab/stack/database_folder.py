"""Where PostgreSQL keeps its data, who owns it, and its first initialisation.

PostgreSQL refuses to run as root. Started by root it runs as ``postgres`` where that account exists, else as
``nobody``, and that account must reach its data: a clone under /root, closed to everybody else, hides all that is in
it. Opening the clone, or giving PostgreSQL a capability to ignore permissions, would weaken the machine, so the data
goes to a folder of its own under /var/lib/costlab instead (not /tmp: that is emptied), owned by the account, mode
0700, and <state>/postgres is a link to it. ``owner`` in that folder names the state folder, so that what belongs to a
state folder that no longer exists is found and removed. The wheel's programs are copied there too when they lie in a
.venv that the account cannot reach.
"""

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from costlab.stack import StackError
from costlab.stack.binaries import Postgres

_SHARED = Path("/var/lib/costlab")
_ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """An unprivileged account of this machine."""

    name: str
    uid: int
    gid: int


class DatabaseFolder:
    """The folder of one stack's PostgreSQL: ``data`` in it is the cluster."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._link = state / "postgres"
        self.account = _account()

    @property
    def path(self) -> Path:
        """The folder itself, wherever it is."""
        return self._link.resolve()

    @property
    def data(self) -> Path:
        return self.path / "data"

    def exists(self) -> bool:
        """Whether there is a cluster."""
        return (self.data / "PG_VERSION").exists()

    def prepare(self, programs: Postgres, password: str, database: str) -> Postgres:
        """Make folder and cluster unless they are there; the programs, at a place where the account can run them."""
        self._place()
        programs = self._reachable(programs)
        if not self.exists():
            self._initialise(programs, password, database)
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if made_by != programs.version.partition(".")[0]:
            raise StackError(
                f"the data in {self.data} is of PostgreSQL {made_by}, and {programs.folder} is {programs.version}: "
                f"install {made_by} again, or drop the data (costlab down --volumes)"
            )
        return programs

    def remove(self) -> None:
        """The data, for good."""
        if self.path.exists():
            shutil.rmtree(self.path)
        self._link.unlink(missing_ok=True)

    def _place(self) -> None:
        if self._link.exists():
            return
        self._link.unlink(missing_ok=True)  # a link to a folder that somebody removed
        if self.account is None:
            self._link.mkdir(mode=0o700)
            return
        self._link.mkdir(mode=0o700)
        os.chown(self._link, self.account.uid, self.account.gid)
        if not _can(self.account, "-x", self._link):
            self._link.rmdir()
            self._link.symlink_to(self._elsewhere(self.account))

    def _elsewhere(self, account: Account) -> Path:
        _SHARED.mkdir(mode=0o755, parents=True, exist_ok=True)
        _sweep()
        folder = _SHARED / hashlib.sha256(str(self._state).encode()).hexdigest()[:12]
        if folder.exists():
            shutil.rmtree(
                folder, ignore_errors=True
            )  # the state folder was removed and made anew: its data is nobody's
        folder.mkdir(mode=0o700)
        (folder / "owner").write_text(f"{self._state}\n")
        os.chown(folder, account.uid, account.gid)
        return folder

    def _reachable(self, programs: Postgres) -> Postgres:
        if self.account is None or _can(self.account, "-x", programs.folder / "postgres"):
            return programs
        if not programs.bundled:
            raise StackError(f"{programs.folder} cannot be reached by the account {self.account.name}")
        installed = programs.folder.parent
        package = installed.parent
        copy = self.path / "programs"
        if not (copy / package.name / installed.name).exists():
            draft = self.path / "programs.new"
            for old in (copy, draft):
                shutil.rmtree(old, ignore_errors=True)
            # Side by side as in site-packages: the programs find their libraries by that.
            shutil.copytree(installed, draft / package.name / installed.name, symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, draft / libraries.name, symlinks=True)
            draft.rename(copy)
        return Postgres(copy / package.name / installed.name / "bin", programs.version, bundled=True)

    def _initialise(self, programs: Postgres, password: str, database: str) -> None:
        """A whole cluster or none: made beside its place and moved there when it is complete."""
        draft, secret = self.path / "data.new", self.path / "password"
        shutil.rmtree(draft, ignore_errors=True)
        try:
            secret.touch(mode=0o600)
            secret.write_text(password + "\n")
            self._own(secret)
            flags = ["--locale=C", "--encoding=UTF8", "--auth=scram-sha-256", "--username=postgres"]
            self._run([programs.folder / "initdb", "-D", draft, *flags, f"--pwfile={secret}"])
            self._run(
                [programs.folder / "postgres", "--single", "-D", draft, "postgres"], f"create database {database}"
            )
            draft.rename(self.data)
        finally:
            secret.unlink(missing_ok=True)
            shutil.rmtree(draft, ignore_errors=True)

    def _own(self, path: Path) -> None:
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)

    def _run(self, command: Sequence[str | Path], text: str = "") -> None:
        with subprocess.Popen(
            list(map(str, command)), cwd=self.path, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}, **_as(self.account),
        ) as process:  # fmt: skip
            try:
                _, output = process.communicate(text)
            except BaseException:
                # initdb has processes of its own, and all of them end with it.
                os.killpg(process.pid, signal.SIGKILL)
                raise
        # The single-user server answers a failed statement on stderr and ends with 0.
        if process.returncode or "ERROR:" in output:
            name = Path(command[0]).name
            raise StackError(f"PostgreSQL cannot be initialised in {self.path}: {name}: {_cause(output)}")


def _account() -> Account | None:
    """Who PostgreSQL runs as; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise StackError(f"PostgreSQL does not run as root, and there is no account {' or '.join(_ACCOUNTS)} here")


def _as(account: Account | None) -> dict[str, object]:
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def _can(account: Account, test: str, path: Path) -> bool:
    """Whether ``account`` itself finds ``test path`` true: every folder above counts, and every access rule."""
    return (
        subprocess.run(["/bin/sh", "-c", f'test {test} "$0"', path], cwd="/", check=False, **_as(account)).returncode
        == 0
    )


def _cause(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it wrote nothing"]
    return next((line for line in lines if "error:" in line.lower() or "FATAL" in line), lines[-1])


def _sweep() -> None:
    """Remove data whose state folder is gone, unless a server still runs on it. Another start may do so too."""
    for owner in _SHARED.glob("*/owner"):
        with suppress(FileNotFoundError):
            if not Path(owner.read_text().strip()).exists() and not (owner.parent / "data" / "postmaster.pid").exists():
                shutil.rmtree(owner.parent, ignore_errors=True)
