"""Loads the catalogue beside the start of the service, and tries again until PostgreSQL lets it."""

import threading
from collections.abc import Callable, Iterator

import psycopg2

from costlab.service import logs
from costlab.service.database import Database
from costlab.service.problem import Unavailable
from services.orders.catalogue import Layout, Row

RETRY_SECONDS = 0.5
BATCH = 5_000
_PRODUCTS = """
select id, name, category, price_cents, weight_grams, stock from products
where id > %s order by id limit %s"""


class CatalogueLoader:
    """Holds the catalogue once it is loaded; until then the service is not ready."""

    def __init__(self, database: Database, layout: Callable[[Iterator[Row]], Layout]) -> None:
        self._database = database
        self._layout = layout
        self._loaded: Layout | None = None
        self._reason = "The catalogue is still being loaded."
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._load, name="catalogue", daemon=True)

    def start(self) -> None:
        """Begin to load, in a thread of this process."""
        self._thread.start()

    def stop(self) -> None:
        """Stop trying."""
        self._stopped.set()
        self._thread.join(timeout=RETRY_SECONDS)

    def catalogue(self) -> Layout:
        """The loaded catalogue; Unavailable before that."""
        if self._loaded is None:
            raise Unavailable(self._reason, headers={"Retry-After": "1"})
        return self._loaded

    def check(self) -> None:
        """Raise unless the catalogue is loaded."""
        self.catalogue()

    def _load(self) -> None:
        while not self._stopped.is_set():
            try:
                loaded = self._layout(self._rows())
            except (Unavailable, psycopg2.Error, ValueError, OverflowError) as error:
                self._reason = f"The catalogue could not be loaded: {str(error).strip()}"
                logs.get("catalogue").warning("catalogue.not_loaded", extra={"reason": self._reason})
                self._stopped.wait(RETRY_SECONDS)
            else:
                self._loaded = loaded
                logs.get("catalogue").info("catalogue.loaded", extra={"products": len(loaded)})
                return

    def _rows(self) -> Iterator[Row]:
        """In batches, so that the rows of all products never stand in memory at once."""
        last = 0
        while rows := self._database.query(_PRODUCTS, [last, BATCH]):
            yield from rows
            last = rows[-1][0]
