"""The strategies flag ``cache.strategy`` chooses from, each in the file of its name."""

from services.cache_proxy.strategies.off import Off
from services.cache_proxy.strategies.single_flight import SingleFlight
from services.cache_proxy.strategies.ttl import Ttl
from services.cache_proxy.strategies.ttl_jitter import TtlJitter
from services.cache_proxy.strategy import Strategy

STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in (Off(), Ttl(), TtlJitter(), SingleFlight())}
