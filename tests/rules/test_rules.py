"""The rules of Prometheus, by its own unit tests: the files beside this one, run by promtool."""

import shutil
import subprocess

import pytest
import yaml

from tests.structure.source import ROOT

RULES = sorted((ROOT / "infra" / "prometheus" / "rules").glob("*.yml"))
TESTS = sorted((ROOT / "tests" / "rules").glob("*.yml"))
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="needs promtool (Debian package prometheus)")


def promtool(*arguments) -> None:
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("test", TESTS, ids=lambda path: path.stem)
def test_rules_do_what_their_unit_tests_say(test):
    promtool("test", "rules", test)


@needs_promtool
def test_the_configuration_and_every_rule_it_names_are_sound_by_promtool():
    promtool("check", "config", ROOT / "infra" / "prometheus" / "prometheus.yml")


def test_every_alert_is_seen_to_fire_and_to_stay_silent():
    alerts = {
        rule["alert"]
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    checks = [
        check
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for check in test.get("alert_rule_test", ())
    ]
    assert alerts
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == alerts
    assert {check["alertname"] for check in checks if not check["exp_alerts"]} == alerts
