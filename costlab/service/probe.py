"""The health check of a container without curl: ask the service's own ``/readyz``.

Its own file, with nothing but the standard library: it starts anew every few seconds in every container, where
importing the service kit took 150 ms of CPU a time and this takes 40.
"""

import os
import sys
from http.client import HTTPConnection


def main() -> int:
    """0 when the service at COSTLAB_INTERNAL_BIND is ready, else 1 with the reason on stderr."""
    port = int(os.environ.get("COSTLAB_INTERNAL_BIND", "127.0.0.1:9000").rpartition(":")[2])
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        reason, ready = answer.read().decode(), answer.status == 200
    except OSError as error:
        reason, ready = str(error), False
    finally:
        connection.close()
    if not ready:
        print(reason, file=sys.stderr)  # noqa: T201 - a program's output
    return 0 if ready else 1


if __name__ == "__main__":
    raise SystemExit(main())
