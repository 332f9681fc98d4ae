"""Clues: several conditions on named features that must hold together, one sentence. What the fraud patterns are made of.

A condition rises from 0 to 1 over a range of one feature (or of a ratio of two); a clue's strength is its `top` times the
product of its conditions. Clues that say the same (of one group, or one clue on several kinds) count once, by the strongest;
the groups of a pattern are joined by noisy-or, 1 - prod(1 - s) (Pearl 1988). A missing value fulfils nothing, unless the
condition says what it counts as.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.model import TYPE_CODES, Event, Kind
from scorers import kernel
from scorers.scorer import Batch, Finding

Values = NDArray[np.float64]


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
        return float(kernel.ramp(float(x), self.low, self.high, self.missing))


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
        self._plans: dict[str, Plan] = {}

    def _plan(self, schema: FeatureSchema) -> Plan:
        plan = self._plans.get(schema.hash)
        if plan is None:
            placed = [p for clue in self._clues for p in place(clue, schema)]
            plan = self._plans[schema.hash] = Plan(placed, schema)
        return plan

    def score(self, batch: Batch) -> Values:
        """Noisy-or of the clues; abstains where no clue is about such an event or its first feature is missing."""
        found: Values = kernel.score_clues(batch.features, *self._plan(batch.schema).arrays)
        return found

    def explain(self, batch: Batch, row: int) -> list[Finding]:
        plan = self._plan(batch.schema)
        strengths = kernel.clues_of(batch.features, row, *plan.arrays).tolist()
        best: dict[str, tuple[float, Placed]] = {}
        for weight, placed in zip(strengths, plan.placed, strict=True):
            if weight > best.get(placed.group, (0.0, None))[0]:
                best[placed.group] = weight, placed
        values = batch.features[row].tolist()
        found = [p.finding(values, batch.events[row], batch.ring_id(row), weight) for weight, p in best.values()]
        return sorted(found, key=lambda f: (-f.weight, f.code))


class Plan:
    """Placed clues, those of a group together, and the arrays that `kernel.score_clues` reads."""

    def __init__(self, placed: Sequence[Placed], schema: FeatureSchema) -> None:
        groups = {group: n for n, group in enumerate(dict.fromkeys(p.group for p in placed))}
        self.placed = sorted(placed, key=lambda p: groups[p.group])
        ends = np.cumsum([0, *(len(p.columns) for p in self.placed)])
        heads = [
            (start, end, groups[p.group], sum(1 << code for code in p.types))
            for p, start, end in zip(self.placed, ends[:-1], ends[1:], strict=True)
        ]
        columns = [pair for p in self.placed for pair in zip(p.columns, p.over, strict=True)]
        ranges = [(c.low, c.high, c.missing) for p in self.placed for c in p.clue.conditions]
        self.arrays = (
            schema.index["event.type"],
            np.array(heads, np.int64).reshape(-1, 4),
            np.array([p.clue.top for p in self.placed], np.float64),
            np.array(columns, np.int64).reshape(-1, 2),
            np.array(ranges, np.float64).reshape(-1, 3),
        )


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
