"""Clues: several conditions on named features that must hold together, one sentence. What the fraud patterns are made of.

A condition rises from 0 to 1 over a range of one feature (or of a ratio of two); a clue's strength is its `top` times the
product of its conditions. Clues that say the same (of one group, or one clue on several kinds) count once, by the strongest;
the groups of a pattern are joined by noisy-or, 1 - prod(1 - s) (Pearl 1988). A missing value fulfils nothing, unless the
condition says what it counts as.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.model import TYPE_CODES, Event, Kind
from scorers.scorer import Batch, Finding

Values = NDArray[np.float64]
_FEW = 40
"""Rows up to which one at a time is faster than by column."""


@dataclass(frozen=True, slots=True)
class Condition:
    """0 up to `low`, 1 from `high` on, linear between; `low` above `high`: small values fulfil it."""

    feature: str
    """With {kind} in a clue that is tried on several kinds."""
    low: float
    high: float
    of: str = ""
    """Divide by this feature (at least 1)."""
    missing: float = 0.0
    """What a missing value counts as."""

    def at(self, x: float) -> float:
        """For one value."""
        if x != x:
            return self.missing
        if self.low == self.high:
            return 1.0 if x >= self.low else 0.0
        return min(max((x - self.low) / (self.high - self.low), 0.0), 1.0)

    def over(self, x: Values) -> Values:
        """For many; the same operations in the same order, so the same bits."""
        if self.low == self.high:
            return np.where(np.isnan(x), self.missing, np.where(x >= self.low, 1.0, 0.0))
        ramp = np.minimum(np.maximum((x - self.low) / (self.high - self.low), 0.0), 1.0)
        return np.where(np.isnan(x), self.missing, ramp)


def least(feature: str, value: float, *, of: str = "", missing: float = 0.0) -> Condition:
    """Fulfilled from a value on."""
    return Condition(feature, value, value, of, missing)


def most(feature: str, value: float, *, of: str = "", missing: float = 0.0) -> Condition:
    """Fulfilled up to a value (and fading within a thousandth above it)."""
    return Condition(feature, value + max(abs(value), 1.0) * 1e-3, value, of, missing)


def unlike_household(accounts: str) -> Condition:
    """Accounts counted by a feature against the kinds of things their ring shares: a family of three shares a device, a card,
    an address and a phone, a ring of ten one or two of them."""
    return Condition(accounts, 0.7, 1.4, of="ring.kinds", missing=1.0)


@dataclass(frozen=True, slots=True)
class Clue:
    code: str
    top: float
    text: str
    """With {0}, {1}, ... for the conditions' values, in the units of their features, and {kind}."""
    conditions: tuple[Condition, ...]
    """The most selective first."""
    about: str = "user"
    """Kind whose entity the reason names, "ring", or {kind}."""
    types: tuple[str, ...] = ()
    """Event types it is tried on; all when empty."""
    kinds: Callable[[Kind], bool] | None = None
    """Tried on each of these kinds, {kind} in its features standing for their name."""
    group: str = ""
    """Clues of one group count once; by itself where empty."""


class PatternScorer:
    """A fraud pattern made of clues. At or over `alert_at` the event is alerted for now, in the pattern's name."""

    name = ""
    version = "1"
    alert_at = 0.6

    def __init__(self, clues: Sequence[Clue], alert_at: float) -> None:
        self.alert_at = alert_at
        self._clues = tuple(clues)
        self._plans: dict[str, list[list[Placed]]] = {}

    def _plan(self, schema: FeatureSchema) -> list[list[Placed]]:
        """Placed clues by group."""
        plan = self._plans.get(schema.hash)
        if plan is None:
            placed = [p for clue in self._clues for p in place(clue, schema)]
            plan = [[p for p in placed if p.group == group] for group in dict.fromkeys(p.group for p in placed)]
            self._plans[schema.hash] = plan
        return plan

    def score(self, batch: Batch) -> Values:
        """Noisy-or of the clues; abstains where no clue is about such an event or its first feature is missing."""
        plan = self._plan(batch.schema)
        if len(batch) <= _FEW:
            type_column = batch.schema.index["event.type"]
            return np.array([_score_one(plan, values, values[type_column]) for values in batch.rows])
        types = batch.column("event.type")
        calm = np.ones(len(batch))
        present = np.zeros(len(batch), np.bool_)
        masks: dict[tuple[int, ...], NDArray[np.bool_]] = {}
        for group in plan:
            strongest = np.zeros(len(batch))
            for placed in group:
                mask = masks.get(placed.types)
                if mask is None:
                    mask = np.isin(types, placed.types) if placed.types else np.ones(len(batch), np.bool_)
                    masks[placed.types] = mask
                rows, strengths, there = placed.strengths(batch.features, mask)
                present |= there
                strongest[rows] = np.maximum(strongest[rows], strengths)
            calm *= 1.0 - strongest
        return np.where(present, 1.0 - calm, np.nan)

    def explain(self, batch: Batch, row: int) -> list[Finding]:
        values = batch.rows[row] if len(batch) <= _FEW else batch.features[row].tolist()
        type_code = values[batch.schema.index["event.type"]]
        findings = []
        for group in self._plan(batch.schema):
            tried = [(p.strength(values), p) for p in group if not p.types or type_code in p.types]
            weight, placed = max(tried, key=lambda pair: pair[0], default=(0.0, None))
            if placed is not None and weight > 0.0:
                findings.append(placed.finding(values, batch.events[row], batch.ring_id(row), weight))
        return sorted(findings, key=lambda f: (-f.weight, f.code))


def _score_one(plan: Sequence[Sequence[Placed]], values: Sequence[float], type_code: float) -> float:
    calm, present = 1.0, False
    for group in plan:
        strongest = 0.0
        for placed in group:
            if placed.types and type_code not in placed.types:
                continue
            first = values[placed.columns[0]]
            if first == first or placed.clue.conditions[0].missing > 0.0:
                present = True
                strongest = max(strongest, placed.strength(values))
        if strongest > 0.0:
            calm *= 1.0 - strongest
    return 1.0 - calm if present else math.nan


@dataclass(frozen=True, slots=True)
class Placed:
    """A clue at one kind (or at none in particular): the columns it reads."""

    clue: Clue
    code: str
    group: str
    columns: tuple[int, ...]
    over: tuple[int, ...]
    types: tuple[int, ...]
    show: tuple[Callable[[float], str], ...]

    def strengths(
        self, features: NDArray[np.float32], mask: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], Values, NDArray[np.bool_]]:
        """(rows, strengths of those rows, where the clue could be tried); rows left out have strength 0."""
        first = features[:, self.columns[0]]
        there = mask if self.clue.conditions[0].missing > 0.0 else mask & ~np.isnan(first)
        rows = np.flatnonzero(there)
        value = np.full(len(rows), self.clue.top)
        for condition, column, of in zip(self.clue.conditions, self.columns, self.over, strict=True):
            x = features[rows, column].astype(np.float64)
            if of >= 0:
                x = x / np.maximum(features[rows, of].astype(np.float64), 1.0)
            value = value * condition.over(x)
            left = value > 0.0
            if not left.all():
                rows, value = rows[left], value[left]
            if not len(rows):
                break
        return rows, value, there

    def strength(self, values: Sequence[float]) -> float:
        """For one row."""
        value = self.clue.top
        for condition, column, of in zip(self.clue.conditions, self.columns, self.over, strict=True):
            x = values[column]
            if of >= 0:
                x = x / max(values[of], 1.0) if values[of] == values[of] else math.nan
            value *= condition.at(x)
            if value <= 0.0:
                return 0.0
        return value

    def finding(self, values: Sequence[float], event: Event, ring_id: str | None, weight: float) -> Finding:
        shown = []
        for column, of, show in zip(self.columns, self.over, self.show, strict=True):
            x = values[column]
            shown.append(show(x / max(values[of], 1.0) if of >= 0 else x))
        about = self.clue.about
        entity = ring_id if about == "ring" else event.entities.get(about)
        return Finding(self.code, self.clue.text.format(*shown), weight, about if entity is not None else None, entity)


def place(clue: Clue, schema: FeatureSchema) -> list[Placed]:
    """The clue at every kind it is tried on that the schema has all its features for."""
    clue = replace(clue, group=clue.group or clue.code)
    here = [clue] if clue.kinds is None else [_of_kind(clue, kind) for kind in schema.kinds if clue.kinds(kind)]
    names = [{c.feature for c in one.conditions} | {c.of for c in one.conditions if c.of} for one in here]
    return [_placed(one, schema) for one, of in zip(here, names, strict=True) if of <= schema.index.keys()]


def _of_kind(clue: Clue, kind: Kind) -> Clue:
    def filled(text: str) -> str:
        return text.replace("{kind}", kind.name)

    return replace(
        clue,
        code=f"{clue.code}_{kind.name}",
        conditions=tuple(replace(c, feature=filled(c.feature), of=filled(c.of)) for c in clue.conditions),
        about=filled(clue.about),
        text=clue.text.replace("{kind}", kind.name.replace("_", " ")),
    )


def _placed(clue: Clue, schema: FeatureSchema) -> Placed:
    columns = tuple(schema.index[c.feature] for c in clue.conditions)
    units = [schema.features[column].unit for column in columns]
    return Placed(
        clue,
        clue.code,
        clue.group,
        columns,
        tuple(schema.index[c.of] if c.of else -1 for c in clue.conditions),
        tuple(TYPE_CODES[t] for t in clue.types),
        tuple(_percent if c.of else shown_as(unit) for c, unit in zip(clue.conditions, units, strict=True)),
    )


def _percent(x: float) -> str:
    return "unknown" if x != x else f"{x:.0%}"


def _duration(x: float) -> str:
    if x != x:
        return "unknown"
    for size, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if x >= size:
            return f"{x / size:.1f} {unit}"
    return f"{x:.0f} s"


def _amount(x: float) -> str:
    return "unknown" if x != x else f"{x / 100:,.2f}"


def _number(x: float) -> str:
    return "unknown" if x != x else f"{x:.2f}" if 0 < abs(x) < 2 and x != round(x) else f"{x:,.0f}"


_SHOWN: Mapping[str, Callable[[float], str]] = {"s": _duration, "minor units": _amount, "share": _percent}


def shown_as(unit: str) -> Callable[[float], str]:
    """How a feature of a unit is written in a sentence."""
    return _SHOWN.get(unit, _number)


def named(*names: str) -> Callable[[Kind], bool]:
    """Kinds by name."""
    return lambda kind: kind.name in names
