"""The layouts by the value of flag ``orders.catalogue``."""

from services.orders.catalogue import Layout
from services.orders.catalogue.columnar import Columnar
from services.orders.catalogue.dict_per_row import DictPerRow
from services.orders.catalogue.dict_shared_keys import DictSharedKeys
from services.orders.catalogue.plain_class import PlainClass
from services.orders.catalogue.slots import Slots
from services.orders.catalogue.struct_misordered import StructMisordered
from services.orders.catalogue.struct_ordered import StructOrdered
from services.orders.catalogue.struct_packed import StructPacked

LAYOUTS: dict[str, type[Layout]] = {
    "dict_per_row": DictPerRow,
    "dict_shared_keys": DictSharedKeys,
    "class": PlainClass,
    "slots": Slots,
    "struct_packed": StructPacked,
    "struct_misordered": StructMisordered,
    "struct_ordered": StructOrdered,
    "columnar": Columnar,
}
