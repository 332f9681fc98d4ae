"""The names a condition may use: features have a dot, event fields have none, attributes begin with `attributes.`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import inf, nan
from operator import attrgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.errors import did_you_mean
from ringwatch.model import Event, type_names

Type = Literal["number", "text", "truth", "any"]
"""What a name's values are. "any": an attribute, until what it is compared with tells."""

TEXT_FIELDS = (
    "type", "tenant", "currency", "country", "category", "channel", "user_agent", "order_id", "step", "outcome",
    "outcome_code",
)  # fmt: skip
NUMBER_FIELDS = ("amount_minor", "lat", "lon", "quantity", "unit_price_minor", "stock_after")
CLOSED = {"type": type_names, "outcome": ("approved", "declined", "success", "failed")}
"""Fields with a fixed set of values."""
ATTRIBUTE = "attributes."


@dataclass(frozen=True, slots=True)
class Column:
    """One thing a condition reads: a name, as a type."""

    name: str
    type: Type

    @property
    def is_feature(self) -> bool:
        return "." in self.name and not self.name.startswith(ATTRIBUTE)


class Names:
    """Everything that may be named with a schema. Features of built-in kinds that a data set does not have are known
    too, so that one rule file fits many data sets: they are missing there."""

    def __init__(self, schema: FeatureSchema) -> None:
        usual = _usual()
        self.units = {f.name: f.unit for f in (*usual.features, *schema.features)}
        self.kinds = tuple(dict.fromkeys(k.name for k in (*schema.kinds, *usual.kinds)))
        self.fields = (*TEXT_FIELDS, *NUMBER_FIELDS)

    def type_of(self, name: str) -> Type | None:
        if name.startswith(ATTRIBUTE):
            return "any"
        if name in self.units or name in NUMBER_FIELDS:
            return "number"
        return "text" if name in TEXT_FIELDS or name in self.kinds else None

    def is_identifier(self, name: str) -> bool:
        """Whether its values are ids of entities."""
        return name in self.kinds and name not in self.fields

    def unit(self, name: str) -> str:
        return self.units.get(name, "minor units" if name.endswith("_minor") else "")

    def hint(self, name: str) -> str:
        """The nearest known name, else where to look."""
        known = self.units if "." in name else (*self.fields, *self.kinds)
        near = did_you_mean(name, tuple(known), " ")
        if near != " ":
            return near
        kind, _, rest = name.partition(".")
        if rest and kind not in self.kinds and (close := difflib.get_close_matches(kind, self.kinds, n=1)):
            return f"did you mean {close[0] + '.' + rest!r}?"
        if "." not in name:
            ending = [n for n in self.units if n.split(".", 1)[1] == name]
            if ending:
                return f"a feature is named with its kind: {ending[0]!r}"
        return "features are in docs/features.md, event fields in docs/rules.md"


@lru_cache(maxsize=1)
def _usual() -> FeatureSchema:
    return FeatureSchema()


def reader(column: Column) -> Callable[[Event], Any]:
    """From an event to the column's value: a float (NaN missing) or a text (None missing)."""
    name = column.name
    if name.startswith(ATTRIBUTE):
        return partial(_attribute, name.removeprefix(ATTRIBUTE), column.type)
    if name in NUMBER_FIELDS:
        field = attrgetter(name)
        return lambda e: nan if (v := field(e)) is None else _number(v)
    if name in TEXT_FIELDS:
        return attrgetter(name)
    return lambda e: e.entities.get(name)


def _attribute(key: str, as_type: Type, event: Event) -> Any:
    v = event.attributes.get(key)
    if as_type == "text":
        return v if isinstance(v, str) else None
    if as_type == "truth":
        return float(v) if isinstance(v, bool) else nan
    if as_type == "any":
        return nan if v is None else 1.0
    return _number(v) if isinstance(v, int | float) and not isinstance(v, bool) else nan


def _number(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


def values(column: Column, events: Sequence[Event]) -> NDArray[Any]:
    """A column over events: float64, or objects for texts."""
    if column.name == "type":
        return types_of(events)
    found = np.empty(len(events), object if column.type == "text" else np.float64)
    found[:] = list(map(reader(column), events))
    return found


def types_of(events: Sequence[Event]) -> NDArray[Any]:
    found = np.empty(len(events), object)
    found[:] = [e.type for e in events]
    return found
