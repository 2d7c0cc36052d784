"""Adaptive LIFO: first come, first served, until the queue stands; then last come, first served.

Example: clients give up after 300 ms, and the queue has grown to 400 ms of work. First come, first served answers
every request 100 ms after its client has left, so that nothing at all is achieved. Last come, first served answers new
requests at once, while their clients still listen; the old ones, lost anyway, are shed by CoDel's time limits.

Trade-off: it is unfair on purpose. Who came first during an overload waits for nothing, and comes back as one request
more.

Use instead: CoDel alone, when order matters or clients wait patiently.

The queue is CoDel's (codel.py), and stands when it has not been drained for 100 ms: a burst that is worked off sooner
is served in order. Source: Maurer, "Fail at Scale", ACM Queue 13(8), 2015.
"""

from gateway.shed.codel import CoDelQueue, Item


def take(queue: CoDelQueue[Item], now: float) -> Item | None:
    """Take out whose turn it is; None when nobody waits that still may."""
    return queue.newest(now) if queue.standing(now) else queue.oldest(now)
