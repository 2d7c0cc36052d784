"""Index of a user's history: built or dropped while the tables are read and written (flag ``orders.index``).

    flag changes ──► every process notes it ──► the one that gets the advisory lock:  CREATE / DROP INDEX CONCURRENTLY
                                           └──► the others look at the catalog until the index is as the flag says

Example: user 5000 has 1 order of 100,000. With the index on (user_id, id desc) PostgreSQL reads that row; without it,
it walks the primary key from the newest order down and throws away 99,999.

Trade-off: the index takes about 3 MB for 100,000 orders and is written with each of them. CONCURRENTLY blocks neither
readers nor writers, but reads the table twice, waits for transactions older than itself, and leaves an invalid index
behind when it is interrupted; such a one is dropped and built again.
Use instead: a plain CREATE INDEX in a migration, where the table may stand still.

The lock is tried, never waited for in PostgreSQL: the waiting statement would be a transaction the build waits for.
``costlab_orders_index`` is 1 while a valid index is there; ``costlab_flag_pending`` falls to 0 once it is as it should.
Source: PostgreSQL documentation, "Building Indexes Concurrently"; Winand, "Use The Index, Luke".
"""

from contextlib import closing

from psycopg2.extensions import cursor

from costlab.service import logs, metrics
from costlab.service.database import Database
from costlab.service.flags import Flags
from services.orders.flag_follower import FlagFollower

FLAG = "orders.index"
LOOK_SECONDS = 0.05
_LOCK = 0x696E646578  # "index": held by the process that builds or drops
_BUILD_SECONDS = 120
_STATE = "select indisvalid from pg_index where indexrelid = to_regclass('orders_history')"
_BUILD = "create index concurrently orders_history on orders (user_id, id desc)"
_DROP = "drop index concurrently if exists orders_history"


class HistoryIndex:
    """Makes the index what the flag says, at the start of the process and after each change."""

    def __init__(self, database: Database, flags: Flags) -> None:
        self._database = database
        self._flags = flags
        self.follower = FlagFollower(flags, FLAG, self._settle)

    def _settle(self) -> str:
        """Return when the index is as the flag says, whoever made it so."""
        # A plain cursor: these statements are no request's, and are not counted as such.
        with closing(self._database.dedicated()) as link, link.cursor(cursor_factory=cursor) as statements:
            statements.execute("set statement_timeout = %s", [f"{_BUILD_SECONDS}s"])
            while (state := _state(statements)) != self._flags[FLAG] and not self.follower.stopped.is_set():
                if not self._change(statements):
                    self.follower.stopped.wait(LOOK_SECONDS)
        metrics.ORDERS_INDEX.set(state == "on")
        return state

    def _change(self, statements: cursor) -> bool:
        """Build or drop, if this is the process that may; whether it was."""
        statements.execute("select pg_try_advisory_lock(%s)", [_LOCK])
        if not statements.fetchone()[0]:
            return False
        # Another may have done it between our look and our lock; what it left half done, nobody is working on.
        state = _state(statements)
        if state != self._flags[FLAG]:
            statements.execute(_BUILD if state == "off" else _DROP)
            logs.get("history-index").info("index.built" if state == "off" else "index.dropped")
        statements.execute("select pg_advisory_unlock(%s)", [_LOCK])
        return True


def _state(statements: cursor) -> str:
    """``on``, ``off``, or ``invalid``: being built or dropped, or left so by a process that died."""
    statements.execute(_STATE)
    row = statements.fetchone()
    return "off" if row is None else "on" if row[0] else "invalid"
