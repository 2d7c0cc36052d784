"""Database queries, exactly: what PostgreSQL itself counted, or where it cannot, what the services counted.

pg_stat_statements counts each statement by database role. Only the roles that serve requests count: the lab, the
orders relay, the administrator and readiness probes ask on nobody's behalf. Where the extension is missing (the
embedded PostgreSQL has none), the services' own counter stands in, and the result says so.
Source: PostgreSQL manual, F.32 pg_stat_statements.
"""

from collections.abc import Mapping
from typing import NamedTuple

import psycopg2

from costlab.lab.block import Queries, QuerySource, Statement
from costlab.lab.probes.link import Link, line
from costlab.stack import replicas

FALLBACK = "costlab_db_queries_total"
_SERVING = ("users", "orders", "worker")
_PROBE = "select $1"
_SHOWN = 40
_READ = """
select r.rolname, s.queryid, s.toplevel, s.query, s.calls, s.total_exec_time / 1000
from pg_stat_statements s
join pg_roles r on r.oid = s.userid
join pg_database d on d.oid = s.dbid
where d.datname = current_database() and r.rolname <> current_user"""


class Seen(NamedTuple):
    """One statement's totals."""

    text: str
    calls: int
    seconds: float


class DatabaseProbe:
    """Reads pg_stat_statements over one connection as role lab."""

    def __init__(self, dsn: str) -> None:
        self._link = Link(dsn, "lab")
        self.source: QuerySource = "pg_stat_statements"
        self.note = ""
        try:
            self.read()
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.ObjectNotInPrerequisiteState) as error:
            self.source = FALLBACK
            self.note = f"pg_stat_statements is not there: {line(error)}"

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def read(self) -> dict[tuple, Seen]:
        """The totals of every statement now, by role and statement; empty where they are not kept."""
        if self.source == FALLBACK:
            return {}
        return {
            (role, number, toplevel): Seen(" ".join(text.split()), calls, seconds)
            for role, number, toplevel, text, calls, seconds in self._link.rows(_READ)
        }

    def queries(
        self, before: Mapping[tuple, Seen], after: Mapping[tuple, Seen], counters: Mapping[str, float]
    ) -> Queries:
        """The queries between two readings."""
        if self.source == FALLBACK:
            return _counted_by_services(counters, self.note)
        return _counted_by_postgres(before, after)


def _counted_by_services(counters: Mapping[str, float], note: str) -> Queries:
    by_role: dict[str, int] = {}
    for key, rise in counters.items():
        instance, counter = key.split(" ", 1)
        if counter == FALLBACK and rise:
            role = replicas.service_of(instance)
            by_role[role] = by_role.get(role, 0) + round(rise)
    return Queries(source=FALLBACK, note=note, by_role=by_role)


def _counted_by_postgres(before: Mapping[tuple, Seen], after: Mapping[tuple, Seen]) -> Queries:
    by_role: dict[str, int] = {}
    excluded = 0
    shown = []
    for key, now in after.items():
        then = before.get(key, Seen("", 0, 0.0))
        if now.calls < then.calls:
            then = Seen("", 0, 0.0)  # a crash of the server has lost the totals, and they began anew
        calls = now.calls - then.calls
        if calls == 0:
            continue
        role = key[0]
        if role not in _SERVING or now.text == _PROBE:
            excluded += calls
            continue
        by_role[role] = by_role.get(role, 0) + calls
        shown.append(Statement(role=role, text=now.text[:200], calls=calls, seconds=now.seconds - then.seconds))
    shown.sort(key=lambda statement: (-statement.calls, statement.role, statement.text))
    return Queries(source="pg_stat_statements", by_role=by_role, excluded=excluded, statements=shown[:_SHOWN])
