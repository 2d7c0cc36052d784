"""How many statements a page of orders and their lines takes (flag ``orders.queries``), one file per way."""

from services.orders.queries import batch, heads, join, n_plus_one
from services.orders.rows import Fetch

WAYS: dict[str, Fetch] = {
    "n_plus_one": n_plus_one.orders,
    "join": join.orders,
    "batch": batch.orders,
    heads.NAME: heads.orders,
}
