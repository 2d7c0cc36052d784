"""Reset: the connection breaks without a word. TCP says RST, which a client sees as "connection reset by peer".

Example: what a client sees of a service that is killed, or of a load balancer that has forgotten the connection. A GET
on a pooled connection is sent once more by itself; a POST is not, because nobody knows whether it was done.

Trade-off: the request is certainly not done here, which the client cannot know. Requests that come in are read and then
cut off (SO_LINGER 0); of calls that go out the service's own connection is broken, before the call is sent.
Use instead: ``errors`` when the client shall get an answer.

Units: none. Source: RFC 9293, 3.10.7 (reset); Toxiproxy, ``reset_peer``.
"""

from random import Random

from costlab.service.fault_kinds.effects import Break


class Reset:
    """Breaks the connection."""

    def effect(self, random: Random) -> Break:
        """Always the same."""
        return Break()
