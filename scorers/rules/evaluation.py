"""Which rules fire on which events. Pure: the same for any cut into batches, to the bit.

A batch is evaluated by column; a few events are evaluated one at a time, which is faster there. Both come from one
definition (see `compiling.py`) over the same float64 values.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.model import Event
from scorers.rules.compiling import Function, compile_condition
from scorers.rules.names import Column, reader, types_of, values
from scorers.rules.rule import Rule
from scorers.scorer import Batch

Fired = NDArray[np.bool_]
_FEW = 24
"""Events up to which one at a time is faster than by column."""
Check = tuple[int, Function, int | None]
"""Number of the rule, its condition, when it expires."""


class Evaluator:
    """Rules, compiled together: each name is read once an event."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        columns = sorted(dict.fromkeys(c for r in rules for c in r.columns), key=lambda c: (c.name, c.type))
        self.features = tuple(c for c in columns if c.is_feature)
        self.fields = tuple(c for c in columns if not c.is_feature)
        slots = {c: i for i, c in enumerate((*self.features, *self.fields))}
        self._by_column = [compile_condition(r.tree, slots, single=False) for r in rules]
        ones = [(j, compile_condition(r.tree, slots, single=True), r.expires_us) for j, r in enumerate(rules)]
        self._for_all = [ones[j] for j, r in enumerate(rules) if not r.when]
        self._by_type: dict[str, list[Check]] = {}
        for name in {name for r in rules for name in r.when}:
            self._by_type[name] = [ones[j] for j, r in enumerate(rules) if not r.when or name in r.when]
        self._readers = [reader(c) for c in self.fields]
        self._plans: dict[str, tuple[NDArray[np.int64], list[int]]] = {}

    def __len__(self) -> int:
        return len(self.rules)

    def fired(self, batch: Batch) -> Fired:
        """Shape (events, rules)."""
        if not self.rules:
            return np.zeros((len(batch), 0), np.bool_)
        where, absent = self._plan(batch.schema)
        if len(batch) <= _FEW:
            found = np.zeros((len(batch), len(self.rules)), np.bool_)
            for i, event in enumerate(batch.events):
                for j in self._fired_one(event, self._row(batch, i, where, absent)):
                    found[i, j] = True
            return found
        wide = np.ascontiguousarray(batch.features[:, where].T, np.float64)
        wide[absent] = nan
        return self.fired_columns(batch.events, list(wide))

    def fired_columns(self, events: Sequence[Event], features: Sequence[NDArray[np.float64]]) -> Fired:
        """`features`: one float64 array for each of `self.features`."""
        read = [*features, *(values(c, events) for c in self.fields)]
        found = np.zeros((len(events), len(self.rules)), np.bool_)
        types = types_of(events)
        masks = {name: types == name for name in self._by_type}
        at_us = np.fromiter((e.at_us for e in events), np.int64, len(events))
        with np.errstate(all="ignore"):
            for j, (condition, rule) in enumerate(zip(self._by_column, self.rules, strict=True)):
                hit = condition(read)
                if rule.when:
                    hit = hit & np.logical_or.reduce([masks[name] for name in rule.when])
                if rule.expires_us is not None:
                    hit = hit & (at_us < rule.expires_us)
                found[:, j] = hit
        return found

    def read(self, batch: Batch, row: int) -> dict[Column, Any]:
        """The values of one event, for words."""
        where, absent = self._plan(batch.schema)
        return dict(zip((*self.features, *self.fields), self._row(batch, row, where, absent), strict=True))

    def _plan(self, schema: FeatureSchema) -> tuple[NDArray[np.int64], list[int]]:
        """Columns of the feature matrix, and which slots the schema does not have."""
        plan = self._plans.get(schema.hash)
        if plan is None:
            found = [schema.index.get(c.name, -1) for c in self.features]
            absent = [i for i, at in enumerate(found) if at < 0]
            plan = self._plans[schema.hash] = np.array([max(at, 0) for at in found], np.int64), absent
        return plan

    def _row(self, batch: Batch, row: int, where: NDArray[np.int64], absent: list[int]) -> list[Any]:
        found: list[Any] = batch.features[row].take(where).tolist()
        for i in absent:
            found[i] = nan
        event = batch.events[row]
        found += [read(event) for read in self._readers]
        return found

    def _fired_one(self, event: Event, row: list[Any]) -> list[int]:
        checks = self._by_type.get(event.type, self._for_all)
        at_us = event.at_us
        return [j for j, condition, expires_us in checks
                if condition(row) and (expires_us is None or at_us < expires_us)]  # fmt: skip
