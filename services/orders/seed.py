"""Seed data of orders: 200,000 products and 100,000 orders of 1 to 5 lines, the same on every machine.

Users and products are drawn from a Zipf distribution (the k-th most popular is drawn with weight 1/k, and the most
popular has id 1), because that is what real demand and the load tests look like.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random

from psycopg2.extensions import cursor

from costlab.service import bulk_load

ROLE = "orders"
TABLES = ("products", "orders", "order_lines")
PRODUCTS = 200_000
ORDERS = 100_000
USERS = 10_000
MAX_LINES = 5
_SEED = 20250101
_FIRST_ORDER = datetime(2025, 1, 1, tzinfo=UTC)
_BETWEEN_ORDERS = timedelta(seconds=300)
_LOOKS = "Plain Bright Small Large Light Heavy Round Square Soft Solid Quiet Quick Warm Cool Classic Modern"
_STUFF = "Oak Steel Wool Cotton Glass Clay Copper Paper Linen Cork Leather Bamboo Stone Silk Brass Pine"
_CATEGORIES = {
    "kitchen": "Pan Bowl Kettle Knife Board",
    "garden": "Spade Pot Bench Hose Rake",
    "office": "Desk Lamp Binder Chair Clock",
    "outdoor": "Tent Stove Rope Flask Pack",
    "home": "Shelf Rug Mirror Vase Curtain",
    "toys": "Puzzle Train Kite Doll Blocks",
    "sport": "Ball Racket Mat Skates Oar",
    "music": "Flute Drum Stand Bell Harp",
}
_KINDS = [(category, noun) for category, nouns in _CATEGORIES.items() for noun in nouns.split()]


def load(statements: cursor) -> str:
    """Fill the empty tables; what was loaded, in words."""
    catalogue = list(products())
    columns = ("id", "name", "category", "price_cents", "weight_grams", "stock")
    bulk_load.copy(statements, "products", columns, catalogue)
    lines = list(order_lines([row[3] for row in catalogue]))
    columns = ("id", "user_id", "total_cents", "created_at")
    placed = bulk_load.copy(statements, "orders", columns, orders(lines))
    columns = ("order_id", "position", "product_id", "quantity", "price_cents")
    bulk_load.copy(statements, "order_lines", columns, lines)
    statements.execute("select setval(pg_get_serial_sequence('orders', 'id'), %s)", [placed])
    return f"{len(catalogue):,} products, {placed:,} orders, {len(lines):,} order lines"


def products() -> Iterator[tuple[int, str, str, int, int, int]]:
    """The rows of table products."""
    random = Random(_SEED)  # noqa: S311 - made-up data, not a secret
    looks, stuff = _LOOKS.split(), _STUFF.split()
    for number in range(1, PRODUCTS + 1):
        category, noun = random.choice(_KINDS)
        name = f"{random.choice(looks)} {random.choice(stuff)} {noun} {number}"
        price_cents = int(99 * 500 ** random.random())  # 0.99 to 495.00, most of them cheap
        weight_grams = int(10 * 2_000 ** random.random())
        yield number, name, category, price_cents, weight_grams, int(500 * random.random())


def order_lines(prices: list[int]) -> Iterator[tuple[int, int, int, int, int]]:
    """The rows of table order_lines, for products with these ``prices`` (in cents, of ids 1, 2, 3 ...)."""
    random = Random(_SEED + 1)  # noqa: S311 - made-up data, not a secret
    sizes = random.choices(range(1, MAX_LINES + 1), k=ORDERS)
    chosen = iter(_zipf(random, len(prices), sum(sizes)))
    quantities = iter(random.choices(range(1, 5), k=sum(sizes)))
    for order, size in enumerate(sizes, start=1):
        for position in range(1, size + 1):
            product = next(chosen)
            yield order, position, product, next(quantities), prices[product - 1]


def orders(lines: list[tuple[int, int, int, int, int]]) -> Iterator[tuple[int, int, int, datetime]]:
    """The rows of table orders, whose totals are those of ``lines``."""
    random = Random(_SEED + 2)  # noqa: S311 - made-up data, not a secret
    totals = [0] * ORDERS
    for order, _, _, quantity, price_cents in lines:
        totals[order - 1] += quantity * price_cents
    for number, user in enumerate(_zipf(random, USERS, ORDERS), start=1):
        yield number, user, totals[number - 1], _FIRST_ORDER + number * _BETWEEN_ORDERS


def _zipf(random: Random, population: int, draws: int) -> list[int]:
    weights = list(accumulate(1 / rank for rank in range(1, population + 1)))
    return random.choices(range(1, population + 1), cum_weights=weights, k=draws)
