"""A few random sequences of faults on the running stack; a hundred: make chaos-soak."""

import contextlib
import json

import psycopg2
import pytest
from typer.testing import CliRunner

from costlab.cli import application
from costlab.lab.soak import Soak
from costlab.stack.chaos import Chaos

pytestmark = pytest.mark.long


@pytest.fixture
def soak(stack, monkeypatch):
    """``soak("--seed", "1")``: as a person types it, on this stack."""
    monkeypatch.setattr("costlab.cli.soak.open_stack", lambda *_words, **_more: stack)
    words = ["chaos", "soak", "--target", "local", "--json"]
    yield lambda *more: CliRunner().invoke(application(), [*words, *more])
    assert Chaos(stack).status() == []


@pytest.mark.timeout(300)
def test_the_stack_is_well_after_random_faults_and_every_accepted_order_was_processed_once(soak, control):
    flags = control.flags()
    done = soak("--seed", "5", "--sequences", "3", "--seconds-each", "2")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["done"], found["wrong"]) == (3, "")
    assert found["faults"] + len(found["refused"]) >= 3
    assert found["accepted"] >= 9
    assert "seed 5: 3 sequences of 2 s" in done.stderr
    assert control.flags() == flags


@pytest.mark.timeout(300)
def test_a_lost_order_fails_the_soak_and_the_seed_is_said(soak, stack, monkeypatch):
    """An order is accepted, then deleted: nothing but the count at the end can see it."""
    judge = Soak._judge_orders

    def after_a_loss(self, soaked):
        lose(stack, next(iter(self._shopper.accepted.values())))
        judge(self, soaked)

    monkeypatch.setattr(Soak, "_judge_orders", after_a_loss)
    done = soak("--seed", "5", "--sequences", "1", "--seconds-each", "1")
    assert done.exit_code == 1
    assert str(done.exception).startswith("seed 5: accepted and not stored: ")


def test_ctrl_c_leaves_no_fault(soak, stack, monkeypatch):
    """Interrupted with one in force that would have lasted on."""
    add = Chaos.add

    def interrupted(self, document):
        add(self, document | {"fault": "hang", "on": "users", "edge": "", "ttl": 60, "rate": 1, "parameters": {}})
        raise KeyboardInterrupt

    monkeypatch.setattr(Chaos, "add", interrupted)
    assert soak("--seed", "5", "--sequences", "1").exit_code == 130
    assert Chaos(stack).status() == []


def test_a_stack_that_is_broken_already_is_not_soaked(soak, stack):
    chaos = Chaos(stack)
    chaos.add({"fault": "latency", "on": "users", "ttl": 60})
    try:
        done = soak("--sequences", "1")
    finally:
        chaos.clear()
    assert "the stack has faults: latency on users" in str(done.exception)


def lose(stack, order: int) -> None:
    with contextlib.closing(psycopg2.connect(stack.dsn("postgres"))) as database:
        database.autocommit = True
        with database.cursor() as cursor:
            cursor.execute("delete from orders.order_lines where order_id = %s", [order])
            cursor.execute("delete from orders.orders where id = %s", [order])
