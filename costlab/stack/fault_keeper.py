"""Ends one fault that cannot end itself: a paused process stays paused, a toxic stays in toxiproxy.

    costlab chaos pause users --for 5s
        └─► python fault_keeper.py <state>/chaos/<id>.json      a session of its own, no terminal
                sleeps until "until", undoes, removes the file, is gone

It outlives the command, the supervisor and every service, and imports nothing but the standard library, so it is
small (13 MB) and needs no file once it runs. What it has to do stands in the record under "undo":

    {"resume": [[4711, "3141592"], ...]}                  let these processes (pid, start time) run on, the last first
    {"end": [[4711, "3141592"]]}                          end these processes, which would end by themselves as well
    {"run": ["docker", "unpause", "1f2e..."]}             run this command
    {"call": ["DELETE", "http://127.0.0.1:8420/...", null]}   ask for this over HTTP
    {"all": [{"resume": ...}, ...]}                       each of these: the instances of one service

It ends early, without a trace, when somebody removes the record (clear) or when what was paused is gone. While the
fault is still being made (the process under "maker" lives) there is nothing to end, and it waits.
Trade-off: a process per fault, for as long as the fault lasts. Instead, where the thing itself has a clock and a
conscience: in-service faults end by themselves (costlab/service/faults.py). Times are seconds.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

TICK = 0.1
RETRY = 0.5
ANSWER = 5.0
# Nobody listens: toxiproxy died and its toxics with it; if it is just being started again it has none either.
REFUSED = 5.0
GIVE_UP = 3600.0
# Whoever makes a fault does so within seconds; one that was stopped with Ctrl-Z meanwhile is not waited for.
MAKING = 60.0
_GONE = ("is not paused", "No such container", "no such container", "is not running")


def keep(file, clock=time.time, sleep=time.sleep):
    """Watch over the record ``file`` until its fault has ended, by whatever means."""
    now, record = clock(), read(file)
    while record is not None and not is_due(record, now):
        left = record["until"] - now
        sleep(min(TICK, left) if left > 0 else TICK)
        now, record = clock(), read(file)
    if record is None:
        return
    deadline = clock() + GIVE_UP
    while not undo(record["undo"], clock, sleep) and clock() < deadline:
        sleep(RETRY)
    remove(file)


def read(file):
    """The record, or None when it is gone."""
    try:
        with open(file) as opened:
            return json.load(opened)
    except FileNotFoundError:
        return None


def remove(file):
    """The record, if it is still there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file)


def is_due(record, now):
    """Whether the fault is to be ended now: its time is up, or it is over already."""
    if lives(record.get("maker")):
        return now >= record["until"] + MAKING
    return now >= record["until"] or is_over(record["undo"])


def is_over(way):
    """Whether the fault has ended without us: a process that was paused, or is to be ended, is gone."""
    if "all" in way:
        return any(map(is_over, way["all"]))
    found = way.get("resume") or way.get("end")
    return bool(found) and not lives(found[0])


def undo(way, clock=time.time, sleep=time.sleep):
    """End the fault; False when that has to be tried again."""
    if "all" in way:
        done = [undo(each, clock, sleep) for each in way["all"]]  # the others too when one fails
        return all(done)
    if "resume" in way:
        return _resume(way["resume"])
    if "end" in way:
        return _signal(way["end"], signal.SIGTERM)
    if "run" in way:
        return _run(way["run"])
    return _call(*way["call"], clock, sleep)


def lives(process):
    """Whether ``process``, its pid and when it started, is there; None never is."""
    return process is not None and identity(process[0]) == process[1]


def identity(pid):
    """What tells this process from a later one with its number: when it started. None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as opened:
            fields = opened.read().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        if sys.platform == "linux":
            return None
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _resume(paused):
    """The last first: a master that wakes up before its workers would take them for hung."""
    return _signal(reversed(paused), signal.SIGCONT)


def _signal(processes, number):
    for process in processes:
        if lives(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process[0], number)
    return True


def _run(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 or any(words in done.stderr for words in _GONE)


def _call(method, url, document, clock, sleep):
    """Done when it is granted, or when there is nothing left to end (404, or nobody listens for a while)."""
    body = None if document is None else json.dumps(document).encode()
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = clock() + REFUSED
    while True:
        try:
            direct.open(urllib.request.Request(url, body, method=method), timeout=ANSWER).close()  # noqa: S310
            return True
        except urllib.error.HTTPError as error:
            error.close()
            return error.code == 404
        except OSError as error:
            refused = isinstance(getattr(error, "reason", error), ConnectionRefusedError)
            if not refused:
                return False
            if clock() >= deadline:
                return True
            sleep(RETRY)
        except http.client.HTTPException:
            return False  # it died while it answered


def main(file):
    """Leave the command that started us behind, tell it who we are, and keep."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.write(1, f"{os.getpid()} {identity(os.getpid())}\n".encode())
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    keep(file)


if __name__ == "__main__":
    main(sys.argv[1])
