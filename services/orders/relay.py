"""Relay: publishes the outbox, into which an order's message is written in the transaction of the order.

    POST /orders ──► one transaction: order, lines, outbox row, NOTIFY
                                                     │
                         relay (this file) ──► Redis stream ``orders:placed`` ──► worker

Example: the process is killed between commit and publication. The row is still there; the next relay publishes it.
With ``dual_write`` that order would never be processed.

Trade-off: at least once, not exactly once: killed between publication and its mark, the row is published again. The
worker knows a message by its key. One relay is active over all processes (an advisory lock); latency is one NOTIFY.
Redis may lose what it was given (a restart without its file). The stream's last id is then lower than the highest id
the outbox has seen, and what was lost is published again; rows are kept for a day after publication for that.
Use instead: logical decoding (Debezium), when many tables feed many streams.

Source: Richardson, "Transactional outbox" and "Polling publisher" (microservices.io).
"""

import select
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection, cursor
from redis import Redis

from costlab.service import logs, metrics
from costlab.service.database import array
from costlab.service.tracing import SpanKind, StatusCode, Tracing, render
from services.orders.publishing.message import SENDING, STREAM

POLL_SECONDS = 1.0
LOOK_SECONDS = 0.2
BATCH = 100
KEEP_HOURS = 24
FORGET_SECONDS = 3600.0
_LOCK = 0x6F7574626F78  # "outbox": held by the relay that is active

_WAITING = "select id, key, payload, traceparent from outbox where stream_ms is null order by id limit %s"
_HIGHEST = """
select stream_ms, stream_seq from outbox where stream_ms is not null
order by stream_ms desc, stream_seq desc limit 1"""
_MARK = """
update outbox set stream_ms = ids.ms, stream_seq = ids.seq
from unnest(%s::bigint[], %s::bigint[], %s::bigint[]) as ids (id, ms, seq) where outbox.id = ids.id"""
_UNMARK = "update outbox set stream_ms = null, stream_seq = null where (stream_ms, stream_seq) > (%s, %s)"
_FORGET = "delete from outbox where stream_ms < extract(epoch from now() - make_interval(hours => %s)) * 1000"

Id = tuple[int, int]
NOTHING: Id = (0, 0)


class DataLost(Exception):
    """The stream ends before messages that were published: Redis lost them. ``last`` is the last id it has."""

    def __init__(self, last: Id) -> None:
        super().__init__(f"the stream ends at {last[0]}-{last[1]}")
        self.last = last


class Relay:
    """Publishes the outbox at ``dsn`` from a thread of this process, while it is the one that holds the lock."""

    def __init__(self, dsn: str, redis: Redis, tracing: Tracing) -> None:
        self._dsn = dsn
        self._tracing = tracing
        self._publish = redis.register_script(Path(__file__).with_name("publish.lua").read_text())
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble = ""

    def start(self) -> None:
        """Begin to publish."""
        # Made here: one made before a fork counts as ended after it.
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the batch at hand."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * POLL_SECONDS)

    def _run(self) -> None:
        """Whatever breaks, PostgreSQL or Redis: begin again with a new connection, which gives the lock back too."""
        while not self._stopped.is_set():
            try:
                with closing(self._connect()) as link:
                    self._relay(link)
            except Exception as error:  # noqa: BLE001 - a relay that gave up would leave orders unprocessed for ever
                self._report_trouble(str(error).strip())
                self._stopped.wait(POLL_SECONDS)

    def _relay(self, link: connection) -> None:
        with link.cursor() as statements:
            if not self._lead(statements):
                return
            statements.execute("listen outbox")
            statements.execute(_HIGHEST)
            highest = statements.fetchone() or NOTHING
            forget_at = time.monotonic()
            while not self._stopped.is_set():
                highest = self._drain(statements, highest)
                if time.monotonic() >= forget_at:
                    statements.execute(_FORGET, [KEEP_HOURS])
                    forget_at = time.monotonic() + FORGET_SECONDS
                self._wait(link)

    def _lead(self, statements: cursor) -> bool:
        """Wait to become the one relay that is active; False when stopped before."""
        while not self._stopped.is_set():
            statements.execute("select pg_try_advisory_lock(%s)", [_LOCK])
            if statements.fetchone()[0]:
                return True
            self._stopped.wait(POLL_SECONDS)
        return False

    def _drain(self, statements: cursor, highest: Id) -> Id:
        """Publish what waits, batch by batch; the highest id that is published then."""
        while not self._stopped.is_set():
            statements.execute(_WAITING, [BATCH])
            rows = statements.fetchall()
            try:
                ids = self._append([row[1:] for row in rows], highest)
            except DataLost as lost:
                highest = self._take_back(statements, lost.last)
                continue
            if rows:
                statements.execute(_MARK, [array(row[0] for row in rows), *map(array, zip(*ids, strict=True))])
                metrics.OUTBOX_PUBLISHED.inc(len(rows))
                highest = ids[-1]
            self._report_recovery()
            if len(rows) < BATCH:
                break
        return highest

    def _append(self, messages: list[tuple[str, str, str]], highest: Id) -> list[Id]:
        """Append ``messages`` to the stream; their ids. Without messages it only looks whether data was lost."""
        with self._sending(messages) as sent:
            parts = [part for message in sent for part in message]
            lost, *ids = self._publish(keys=[STREAM], args=[*highest, *parts])
            if lost:
                raise DataLost(_parse(ids[0]))
            return [_parse(written) for written in ids]

    @contextmanager
    def _sending(self, messages: list[tuple[str, str, str]]) -> Iterator[list[tuple[str, str, str]]]:
        """``messages`` with the spans that send them in place of those that placed them, where these are sampled."""
        spans = [self._tracing.follow(given, SENDING, SpanKind.PRODUCER) for _, _, given in messages]
        failure = None
        try:
            yield [
                message if span is None else (*message[:2], render(span.get_span_context()))
                for message, span in zip(messages, spans, strict=True)
            ]
        except Exception as error:
            failure = type(error).__name__
            raise
        finally:
            for span in filter(None, spans):
                if failure:
                    span.set_status(StatusCode.ERROR, failure)
                span.end()

    def _take_back(self, statements: cursor, last: Id) -> Id:
        statements.execute(_UNMARK, last)
        logs.get("relay").warning(
            "relay.data_lost", extra={"last_id": f"{last[0]}-{last[1]}", "rows": statements.rowcount}
        )
        return last

    def _wait(self, link: connection) -> None:
        """Return when something was placed, at the latest after POLL_SECONDS."""
        poll = select.poll()
        poll.register(link, select.POLLIN)
        deadline = time.monotonic() + POLL_SECONDS
        while not self._stopped.is_set() and time.monotonic() < deadline:
            if link.notifies:
                link.notifies.clear()
                return
            if poll.poll(LOOK_SECONDS * 1000):
                link.poll()

    def _report_trouble(self, reason: str) -> None:
        """Once for as long as it lasts, not every second."""
        if reason != self._trouble:
            logs.get("relay").warning("relay.interrupted", extra={"reason": reason})
        self._trouble = reason

    def _report_recovery(self) -> None:
        if self._trouble:
            logs.get("relay").info("relay.resumed")
        self._trouble = ""

    def _connect(self) -> connection:
        link = psycopg2.connect(
            self._dsn,
            connect_timeout=3,
            application_name="orders-relay",
            options="-c statement_timeout=10s",
            keepalives_idle=10,
            tcp_user_timeout=10_000,
        )
        link.autocommit = True
        return link


def _parse(written: bytes) -> Id:
    milliseconds, _, sequence = written.decode().partition("-")
    return int(milliseconds), int(sequence)
