"""What readiness asks, on the running stack, while the database stands still."""

import json
import urllib.error
import urllib.request

from tests.conditions import eventually
from tests.e2e.test_effects import paused, total


def readiness(stack, service: str) -> tuple[int, dict]:
    """Status and document of a service's /readyz."""
    try:
        with urllib.request.urlopen(f"{stack.internal_urls()[service]}/readyz", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_database_that_hangs_makes_a_replica_unready_as_the_flag_says(stack, control):
    """ "service.probe": deep is unready, shallow does not ask, deep_fail_open stays ready and says why."""
    eventually(lambda: readiness(stack, "users")[0] == 200)
    assert readiness(stack, "users")[1]["milliseconds"].keys() == {"postgres"}
    with paused(stack, "postgres"):
        eventually(lambda: readiness(stack, "users")[0] == 503)
        assert "No answer" in readiness(stack, "users")[1]["checks"]["postgres"]
        control.set_flags({"service.probe": "shallow"})
        assert readiness(stack, "users") == (
            200,
            {"status": "ok", "probe": "shallow", "checks": {}, "milliseconds": {}},
        )
        control.set_flags({"service.probe": "deep_fail_open"})
        status, document = readiness(stack, "users")
        assert (status, document["checks"]["postgres"] == "ok") == (200, False)
        assert "depends on" in document["warning"]
        assert total(control, "users", "costlab_readiness_answers_total", outcome="failed_open") >= 1
        control.set_flags({"service.probe": None})
        assert readiness(stack, "users")[0] == 503
    eventually(lambda: readiness(stack, "users")[0] == 200, within=20)
