"""Ends a generator's process, politely first."""

import subprocess


def end(process: subprocess.Popen, grace: float = 2.0) -> None:
    """Terminate, wait `grace` seconds, kill; returns only when the process is gone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
