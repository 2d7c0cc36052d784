"""Faults on the wire, between a service and one thing it calls; nobody's code knows of them.

    wire_latency     every piece of data comes later       wire_reset_peer   connections end with RST
    wire_bandwidth   data goes through slowly              wire_slicer       data comes in small pieces
    wire_timeout     nothing comes through at all          wire_limit_data   after so many bytes it is over
    wire_down        nobody listens any more

Made by toxiproxy, so only where calls go through it (costlab up --wire). ``rate`` is the share of *connections* that
a toxic meets: with pooled connections a few calls or all of them. Chance is toxiproxy's own, which nothing repeats
(its option -seed is without effect in 2.12), so a seed is refused.
"""

import time
from contextlib import suppress
from typing import Any

from costlab.service.faults import BadFault, Record, Wish
from costlab.stack import Stack, StackError
from costlab.stack.fault_teller import FaultTeller
from costlab.stack.kept_faults import KeptFaults
from costlab.stack.toxiproxy import NotThere, Toxiproxy
from costlab.stack.wire import Edge, edges

DOWN = "wire_down"
# Fault to toxiproxy's type, and each parameter to its attribute.
TOXICS: dict[str, tuple[str, dict[str, str]]] = {
    "wire_latency": ("latency", {"ms": "latency", "jitter_ms": "jitter"}),
    "wire_bandwidth": ("bandwidth", {"kb_per_second": "rate"}),
    "wire_timeout": ("timeout", {"ms": "timeout"}),
    "wire_reset_peer": ("reset_peer", {"ms": "timeout"}),
    "wire_slicer": ("slicer", {"bytes": "average_size", "variation": "size_variation", "delay_us": "delay"}),
    "wire_limit_data": ("limit_data", {"bytes": "bytes"}),
}


class WireFaults:
    """The level "wire" of chaos."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._kept = KeptFaults(stack.faults_folder, "wire", FaultTeller(stack))

    def apply(self, wish: Wish) -> Record:
        """In force, in open connections too, when this returns."""
        toxiproxy, edge = self._toxiproxy(), _edge(wish)
        toxiproxy.proxies()  # where it is not there, nothing need be begun
        record = Record.of(wish, time.time())
        if wish.fault == DOWN:
            self._refuse_second(record)
            with self._kept.kept(record, toxiproxy.enabling(edge.name)):
                toxiproxy.disable(edge.name)
        else:
            toxic = _toxic(record)
            with self._kept.kept(record, toxiproxy.removal(edge.name, record.id)):
                toxiproxy.add(edge.name, toxic)
        return record

    def remove(self, identity: str) -> bool:
        """Gone from every connection when this returns."""
        return self._kept.end(identity)

    def clear(self) -> int:
        """Those of ours, and whatever somebody told toxiproxy past us."""
        ended = self._kept.clear()
        if url := self._stack.toxiproxy_url():
            with suppress(NotThere):  # no toxics without it
                Toxiproxy(url).reset()
        return ended

    def active(self) -> list[Record]:
        """What toxiproxy has. A record of what it lost when it died is dropped."""
        records = self._kept.active()
        url = self._stack.toxiproxy_url() if records else None
        if not records or url is None:
            return records
        try:
            proxies = Toxiproxy(url).proxies()
        except NotThere:
            return []
        except StackError:
            return records  # it is paused, and its toxics with it
        for record in records:
            if not _has(proxies, record):
                self._kept.forget(record.id)
        return [record for record in records if _has(proxies, record)]

    def _toxiproxy(self) -> Toxiproxy:
        url = self._stack.toxiproxy_url()
        if url is None:
            raise BadFault(
                "calls on this stack do not go through toxiproxy, so there is no wire to break: "
                "costlab down, then costlab up --wire (or COSTLAB_WIRE=on)"
            )
        return Toxiproxy(url)

    def _refuse_second(self, record: Record) -> None:
        for other in [*self.active(), *self._kept.being_made()]:
            if (other.fault, other.on, other.edge) == (DOWN, record.on, record.edge):
                raise BadFault(f"{record.on} is cut off from {record.edge} already; costlab chaos clear {other.id}")


def _edge(wish: Wish) -> Edge:
    found = {edge.dependency: edge for edge in edges() if edge.service == wish.on}
    if not found:
        callers = ", ".join(dict.fromkeys(edge.service for edge in edges()))
        raise BadFault(f"{wish.on} calls nobody through toxiproxy; who does: {callers}")
    if wish.edge not in found:
        raise BadFault(f"{wish.on} does not call {wish.edge}; its edges: {', '.join(found)}")
    return found[wish.edge]


def _toxic(record: Record) -> dict[str, Any]:
    """As toxiproxy wants it."""
    kind, names = TOXICS[record.fault]
    given = dict(record.parameters)
    stream = given.pop("stream")
    if kind == "slicer" and given["variation"] >= given["bytes"]:
        raise BadFault(f"variation cannot be {given['variation']}; allowed: less than bytes, which is {given['bytes']}")
    attributes = {names[name]: value for name, value in given.items()}
    return {"name": record.id, "type": kind, "stream": stream, "toxicity": record.rate, "attributes": attributes}


def _has(proxies: dict[str, dict[str, Any]], record: Record) -> bool:
    proxy = proxies.get(f"{record.on}.{record.edge}", {"enabled": True, "toxics": []})
    if record.fault == DOWN:
        return not proxy["enabled"]
    return any(toxic["name"] == record.id for toxic in proxy["toxics"])
