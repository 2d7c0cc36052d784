"""How every service process is served: one file for all of them, every knob from the environment.

Public traffic and the internal port (metrics, flags) are two sockets of the same process; which one a
request came in by decides what it may reach (costlab/service/door.py).
"""

import os
import select
import shutil
import tempfile

_FOLDER = "costlab-"
# prometheus-client decides at import whether it runs in multiprocess mode, so this comes before all else. What a killed
# predecessor left in the folder would be counted as if its processes were alive.
_metrics = os.environ.setdefault(
    "PROMETHEUS_MULTIPROC_DIR", os.path.join(tempfile.gettempdir(), f"{_FOLDER}{os.getpid()}")
)
shutil.rmtree(_metrics, ignore_errors=True)
os.makedirs(_metrics)

from costlab.service import fork_sharing, lifecycle, logs, metric_files, restart_flags
from costlab.service.settings import ServerSettings, load

# Without this a service that is killed again and again fills a disk.
metric_files.forget_killed_masters(_FOLDER)
os.environ.update(restart_flags.recorded(os.environ.get("COSTLAB_REDIS_URL", "")))
_settings = load(ServerSettings, "gunicorn")

bind = [_settings.bind, _settings.internal_bind]
workers = _settings.processes
# costlab/service/leader_followers.py says what it saves; it needs epoll, so on macOS gunicorn's own threads serve.
worker_class = "costlab.service.leader_followers.LeaderFollowersWorker" if hasattr(select, "epoll") else "gthread"
threads = _settings.threads
preload_app = _settings.preload == "on"
_freezes = _settings.gc_freeze == "on"
# No header of a caller changes what a request is: whom to trust is never asked, so that nobody need be looked up.
forwarded_allow_ips = "*"
secure_scheme_headers = {}
forwarder_headers = ""
# Pooled clients keep connections open between requests; the default of two seconds would close them under light load.
keepalive = 75
backlog = 1024
timeout = 30
graceful_timeout = 20
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - gunicorn's heartbeat file
control_socket_disable = True
accesslog = None
loglevel = "warning"

if _freezes:
    fork_sharing.before_loading()


def on_starting(server):
    # The master tells of workers that time out or are killed. services.cache_proxy.app:create_app() is cache-proxy.
    service = server.app.app_uri.rpartition(".app:")[0].rpartition(".")[2].replace("_", "-")
    logs.configure(service or "gunicorn", _settings.log_level)


def when_ready(server):
    if preload_app:
        fork_sharing.preload(server.app.wsgi())
    if _freezes:
        fork_sharing.before_fork()


def post_fork(server, worker):
    fork_sharing.after_fork()
    os.environ["COSTLAB_PROCESS_NUMBER"] = str(worker.age if workers > 1 else 1)  # fault_kinds/chance.py


def post_worker_init(worker):
    lifecycle.start(worker.wsgi)


def worker_exit(server, worker):
    lifecycle.stop(getattr(worker, "wsgi", None))


def child_exit(server, worker):
    lifecycle.forget_process(worker.pid)


def on_exit(server):
    shutil.rmtree(_metrics, ignore_errors=True)
