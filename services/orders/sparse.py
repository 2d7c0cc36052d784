"""Sparse fieldsets: ``?fields=id,status,lines.product_id`` answers those fields and no others.

Example: a page of 20 orders with 3 lines each is 5.5 kB; ``fields=id,status,total_cents`` makes it 1.0 kB and one
statement, because lines that nobody asks for are not read.

Trade-off: fewer bytes for the network and the client's parser, and less work where a field has to be fetched; but each
selection is an answer of its own in every cache, so many selections lower the hit ratio.
The columns of one row are always read together: they lie on one page, and each selection would be another statement.
Use instead: a resource of its own, when all clients want the same few fields; ``gateway.compress`` when they want all.

Units: fields, named as in the answer, in any order. Source: JSON:API 1.1, "Sparse Fieldsets".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict

Document = dict[str, Any]


@dataclass(frozen=True)
class Fields:
    """``names``: the fields to answer. ``inside``: of which list to answer only some fields of each element."""

    names: frozenset[str]
    inside: Mapping[str, frozenset[str]]

    def of(self, document: Document) -> Document:
        """The document with these fields alone, in its own order."""
        kept = {name: value for name, value in document.items() if name in self.names}
        for name, wanted in self.inside.items():
            kept[name] = [{key: each[key] for key in each if key in wanted} for each in kept[name]]
        return kept


def names(model: type[BaseModel]) -> Iterator[str]:
    """What may be asked for: the fields of ``model``, and ``lines.quantity`` for those inside of a list."""
    for name, field in model.model_fields.items():
        yield name
        if get_origin(field.annotation) is list:
            yield from (f"{name}.{inner}" for inner in names(get_args(field.annotation)[0]))


def parse(text: str, model: type[BaseModel]) -> Fields:
    """The fields that ``text`` names, separated by commas; ValueError says what there is."""
    allowed, given = list(names(model)), text.split(",")
    for number, name in enumerate(given, 1):
        if name not in allowed:
            raise ValueError(f"number {number} is no field; there are {', '.join(allowed)}")
    whole = {name for name in given if "." not in name}
    pairs = [name.split(".") for name in given if "." in name]
    inside = {outer: frozenset(inner for of, inner in pairs if of == outer) for outer, _ in pairs if outer not in whole}
    return Fields(frozenset(whole | inside.keys()), inside)


def query(model: type[BaseModel]) -> Any:
    """The type of a query parameter that names fields of ``model``; it is validated into Fields."""
    return Annotated[str, AfterValidator(lambda text: parse(text, model))]


def description(model: type[BaseModel]) -> str:
    """The same for those who read the OpenAPI document."""
    return f"answer these fields only, separated by commas: {', '.join(names(model))}"


def _nothing_required(schema: Document) -> None:
    schema.pop("required")


# For the model of an answer that ``fields`` may leave parts of away.
PART = ConfigDict(json_schema_extra=_nothing_required)
