"""Start and stop of a service inside a gunicorn worker: threads and connections belong to the process that uses them.

gunicorn's hooks (infra/gunicorn.conf.py) call these. Nothing connects at import, nor when the app is made, so a
preloaded app can be forked.
"""

from flask import Flask

from costlab.service import metric_files
from costlab.service.shutdown import KINDS, Shutdown


def start(app: Flask) -> None:
    """Called in a worker process once it is about to serve."""
    app.extensions["costlab"].start()


def leave(app: object) -> Shutdown:
    """Called in a worker process that has been told to stop; how it goes. From now on it is not ready."""
    service = getattr(app, "extensions", {}).get("costlab")
    return KINDS["drain"] if service is None else service.leave()


def stop(app: Flask | None) -> None:
    """Called in a worker process after its last request."""
    if app is not None:
        app.extensions["costlab"].stop()


def forget_process(pid: int) -> None:
    """Called in the master when a worker has gone."""
    metric_files.forget_process(pid)


def forget_dead_processes() -> None:
    """Called where processes may have died without anybody to forget them."""
    metric_files.forget_dead_processes()
