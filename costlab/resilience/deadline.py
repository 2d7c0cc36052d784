"""Deadline: the moment after which nobody waits for the answer any more, handed on from service to service.

Example: a client gives a request 800 ms (X-Request-Timeout-Ms: 800). The gateway works 5 ms and calls orders with
795; orders works 20 ms and calls users with 775, although its own timeout for users is 5 s. When users hangs, all
three give up together, after 800 ms. With timeouts alone the client has left after 800 ms while orders goes on
holding a thread and a connection for it until its 5 s are over.

Trade-off: what the last hop had nearly finished is thrown away, and the caller learns less about who was slow.

Use instead: nothing; a timeout per hop stays the upper limit beside it, for requests that come without a deadline.

Units: milliseconds that remain on the wire, because the clocks of two machines differ; seconds on the monotonic
clock within a process. The time a message travels or waits in a queue is not taken off.
Source: SRE book, ch. 22, "Addressing Cascading Failures", propagating deadlines; gRPC, "Deadlines".
"""


def parse(header: str, now: float) -> float | None:
    """The moment a header of remaining milliseconds names; None where it is absent or not a number."""
    if not header.isascii() or not header.isdigit():
        return None
    # Twelve digits are thirty years; thousands of them would not even convert.
    return now + int(header[:12]) / 1000


def nearest(now: float, timeout: float, deadline: float | None) -> float:
    """When a call that begins now must be over: after the client's own ``timeout``, or at the request's deadline."""
    latest = now + timeout
    return latest if deadline is None else min(latest, deadline)
