"""The strategies flag ``cache.strategy`` chooses from, each in the file of its name."""

from services.cache_proxy.strategies.lease import Lease
from services.cache_proxy.strategies.off import Off
from services.cache_proxy.strategies.single_flight import SingleFlight
from services.cache_proxy.strategies.stale_while_revalidate import StaleWhileRevalidate
from services.cache_proxy.strategies.ttl import Ttl
from services.cache_proxy.strategies.ttl_jitter import TtlJitter
from services.cache_proxy.strategies.xfetch import XFetch
from services.cache_proxy.strategy import Strategy

_ALL: tuple[Strategy, ...] = (
    Off(),
    Ttl(),
    TtlJitter(),
    SingleFlight(),
    Lease(),
    XFetch(),
    StaleWhileRevalidate(),
)
STRATEGIES = {strategy.name: strategy for strategy in _ALL}
