"""How every service process is served: one file for all of them, every knob from the environment.

Public traffic and the internal port (metrics, flags) are two sockets of the same process; which one a
request came in by decides what it may reach (costlab/service/door.py).
"""

import os
import shutil
import tempfile

# prometheus-client decides at import whether it runs in multiprocess mode, so this comes before everything else.
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="costlab-metrics-"))

from costlab.service import lifecycle

bind = [os.environ.get("COSTLAB_BIND", "127.0.0.1:8000"), os.environ.get("COSTLAB_INTERNAL_BIND", "127.0.0.1:9000")]
workers = int(os.environ.get("COSTLAB_PROCESSES", "1"))
worker_class = "gthread"
threads = int(os.environ.get("COSTLAB_THREADS", "8"))
http_parser = "fast"
# Pooled clients keep connections open between requests; two seconds (the default) would close them under light load.
keepalive = 75
backlog = 1024
timeout = 30
graceful_timeout = 20
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - gunicorn's heartbeat file
control_socket_disable = True
accesslog = None
loglevel = "warning"
proc_name = os.environ.get("COSTLAB_SERVICE", "costlab")


def post_worker_init(worker):
    lifecycle.start(worker.wsgi)


def worker_exit(server, worker):
    lifecycle.stop(getattr(worker, "wsgi", None))


def child_exit(server, worker):
    lifecycle.forget_process(worker.pid)


def on_exit(server):
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
