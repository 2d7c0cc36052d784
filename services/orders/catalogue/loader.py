"""Loads the catalogue beside the start of the service, and builds it anew when flag ``orders.catalogue`` changes.

Requests are answered from the old layout until the new one is complete; then one assignment puts it in place, and the
old one is freed. While both are there the process needs room for both.

To measure memory, restart orders once the flag is set: a process that starts builds that layout and no other. The
allocator does not give all of the old layout back to the system, because a few small objects made in the meantime hold
on to its blocks. Seen on the running service (PSS, one worker and gunicorn's master): columnar 84 MB from a start, and
170 MB when it had been dict_per_row before, whose start is 253 MB.

From a start: dict_per_row 253 MB, dict_shared_keys 179, class 155, slots 143, struct_misordered 91, struct_ordered 85,
struct_packed 84, columnar 84. About 74 MB of each are everything else in the service.
"""

from collections.abc import Iterator

from costlab.service import logs, metrics
from costlab.service.database import Database
from costlab.service.flags import Flags
from costlab.service.problem import Unavailable
from services.orders.catalogue import Layout, Row
from services.orders.catalogue.layouts import LAYOUTS
from services.orders.flag_follower import FlagFollower

FLAG = "orders.catalogue"
BATCH = 5_000
_PRODUCTS = """
select id, name, category, price_cents, weight_grams, stock from products
where id > %s order by id limit %s"""


class CatalogueLoader:
    """Holds the catalogue once it is loaded; until then the service is not ready."""

    def __init__(self, database: Database, flags: Flags) -> None:
        self._database = database
        self._flags = flags
        self._loaded: Layout | None = None
        self._layout: str | None = None
        self._reason = "The catalogue is still being loaded."
        self.follower = FlagFollower(flags, FLAG, self._load)

    def catalogue(self) -> Layout:
        """The loaded catalogue; Unavailable before that."""
        if self._loaded is None:
            raise Unavailable(self._reason, headers={"Retry-After": "1"})
        return self._loaded

    def check(self) -> None:
        """Raise unless the catalogue is loaded."""
        self.catalogue()

    def preload(self) -> None:
        """Load it in a process that only forks, for those it forks to share; where that fails, each loads its own."""
        try:
            self._build(self._flags[FLAG])
        except Exception as error:  # noqa: BLE001 - whatever it is, the processes that serve will try again
            logs.get("catalogue").warning("catalogue.not_preloaded", extra={"reason": str(error).strip()})
        self._database.close()

    def _load(self) -> str:
        layout = self._flags[FLAG]
        if layout != self._layout:
            self._build(layout)
        for name in LAYOUTS:
            metrics.CATALOGUE_PROCESSES.labels(name).set(name == layout)
        return layout

    def _build(self, layout: str) -> None:
        try:
            loaded = LAYOUTS[layout](self._rows())
        except Exception as error:
            self._reason = f"The catalogue could not be loaded: {str(error).strip()}"
            raise
        self._loaded, self._layout = loaded, layout
        logs.get("catalogue").info("catalogue.loaded", extra={"products": len(loaded), "layout": layout})

    def _rows(self) -> Iterator[Row]:
        """In batches, so that the rows of all products never stand in memory at once."""
        last = 0
        while rows := self._database.query(_PRODUCTS, [last, BATCH]):
            yield from rows
            last = rows[-1][0]
