"""Signals: one feature, one ramp, one sentence. The building block of the hand-written scorers.

A signal's strength rises linearly from 0 at `low` to `top` at `high` and stays there. The signals of a scorer are
joined by noisy-or, 1 - prod(1 - s): independent pieces of evidence add up, none can exceed 1 (Pearl 1988).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.model import Kind
from scorers.scorer import Batch, Finding

Values = NDArray[np.float64]
_COVERED = 0.2
_FEW = 40
"""Rows up to which one at a time is faster than by column."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Strength of one feature of one entity slot. `low` may be above `high`: then small values are strong."""

    code: str
    feature: str
    """Within the slot, for example "neighbours_24h"."""
    low: float
    high: float
    top: float
    text: str
    """With {value}, {whole} of a relative signal, {fraud} and all {labels} of the slot, {kind} and {entity}."""
    applies: Callable[[Kind], bool]
    least: tuple[str, float] | None = None
    """(feature of the same slot, least value) for the signal to mean anything."""
    relative: tuple[str, float] | None = None
    """(feature of the same slot, share of it from which on the value counts fully): 2 of 3 accounts weigh more than
    2 of 25."""
    show: Callable[[float], str] = "{:.0f}".format
    own: Literal["count", "leave_out", "silent"] = "count"
    """What becomes of the user's own confirmed fraud, which its things repeat: counted; taken off a number of accounts
    (and off the whole); or the signal is silent for such a user."""
    covered: bool = False
    """Only where at least a fifth of the slot's events were confirmed one way or the other: where mostly frauds are
    ever reported, the rate among the confirmed says little."""


def strength(x: NDArray[np.floating[Any]], low: float, high: float, top: float) -> Values:
    """Linear ramp, 0 where missing. Shape kept, float64 in [0, top]."""
    ramp = (x.astype(np.float64) - low) / (high - low) * top
    return np.where(np.isnan(ramp), 0.0, np.minimum(np.maximum(ramp, 0.0), top))


class SignalScorer:
    """A scorer made of signals. Subclasses give name, version, docstring and the signals."""

    name = ""
    version = "1"

    def __init__(self, signals: Sequence[Signal]) -> None:
        self._signals = tuple(signals)
        self._plans: dict[str, list[Placed]] = {}

    def _plan(self, schema: FeatureSchema) -> list[Placed]:
        """Every signal at every kind it applies to and the schema has its feature for."""
        plan = self._plans.get(schema.hash)
        if plan is None:
            pairs = [(s, kind) for s in self._signals for kind in schema.kinds if s.applies(kind)]
            plan = [Placed.of(s, kind, schema) for s, kind in pairs if f"{kind.name}.{s.feature}" in schema.index]
            self._plans[schema.hash] = plan
        return plan

    def score(self, batch: Batch) -> Values:
        """Noisy-or of the signals; abstains on events that name no entity any signal is about."""
        if len(batch) <= _FEW:
            return np.array([self._score_one(values, batch.schema) for values in batch.rows])
        calm = np.ones(len(batch))
        present = np.zeros(len(batch), np.bool_)
        for placed in self._plan(batch.schema):
            calm = calm * (1.0 - placed.strengths(batch.features))
            present |= ~np.isnan(batch.features[:, placed.count])
        return np.where(present, 1.0 - calm, np.nan)

    def _score_one(self, values: Sequence[float], schema: FeatureSchema) -> float:
        """`score` of one row without arrays, which cost more than they save there; the same bits."""
        calm, present = 1.0, False
        for placed in self._plan(schema):
            count = values[placed.count]
            if count == count:
                present = True
                calm *= 1.0 - placed.strength(values)
        return 1.0 - calm if present else math.nan

    def explain(self, batch: Batch, row: int) -> list[Finding]:
        event, values = batch.events[row], batch.features[row].tolist()
        findings = []
        for placed in self._plan(batch.schema):
            weight = placed.strength(values)
            if weight <= 0.0:
                continue
            signal, kind = placed.signal, placed.kind.name
            entity = event.entities.get(kind)
            value, whole = placed.read(values)
            fraud, good = (values[at] for at in placed.labels)
            text = signal.text.format(
                value=signal.show(value), whole=f"{whole:.0f}", fraud=f"{fraud:.0f}", labels=f"{fraud + good:.0f}",
                kind=kind.replace("_", " "), entity=entity,
            )  # fmt: skip
            code = signal.code if kind == "user" else f"{signal.code}_{kind}"
            findings.append(Finding(code, text + self._detail(batch, row, placed), weight, kind, entity))
        return sorted(findings, key=lambda f: (-f.weight, f.code))

    def _detail(self, batch: Batch, row: int, placed: Placed) -> str:
        """More words for a finding, from the same slot."""
        return ""


@dataclass(frozen=True, slots=True)
class Placed:
    """A signal at one kind: the columns of the feature matrix it reads."""

    signal: Signal
    kind: Kind
    column: int
    count: int
    least: int
    whole: int
    labels: tuple[int, int]
    user_fraud: int

    @classmethod
    def of(cls, signal: Signal, kind: Kind, schema: FeatureSchema) -> Placed:
        def at(feature: str) -> int:
            return schema.index[f"{kind.name}.{feature}"]

        least = -1 if signal.least is None else at(signal.least[0])
        whole = -1 if signal.relative is None else at(signal.relative[0])
        labels = at("fraud_labels"), at("good_labels")
        user_fraud = schema.index["user.fraud_labels"]
        return cls(signal, kind, at(signal.feature), at("count_all"), least, whole, labels, user_fraud)

    def strengths(self, features: NDArray[np.float32]) -> Values:
        """For all rows, shape (n,)."""
        signal = self.signal
        x = features[:, self.column].astype(np.float64)
        known = features[:, self.user_fraud] > 0
        if signal.own == "leave_out":
            x = x - known
        value = strength(x, signal.low, signal.high, signal.top)
        if signal.own == "silent":
            value = np.where(known, 0.0, value)
        if signal.least is not None:
            value = np.where(features[:, self.least] >= signal.least[1], value, 0.0)
        if signal.relative is not None:
            whole = features[:, self.whole].astype(np.float64)
            whole = whole - known if signal.own == "leave_out" else whole
            share = np.minimum(x / np.maximum(whole * signal.relative[1], 1.0), 1.0)
            value = np.where(value > 0.0, value * share, 0.0)
        if signal.covered:
            labels = features[:, self.labels[0]].astype(np.float64) + features[:, self.labels[1]]
            value = np.where(labels >= _COVERED * features[:, self.count].astype(np.float64), value, 0.0)
        return value

    def read(self, values: Sequence[float]) -> tuple[float, float]:
        """(value, whole) of one row; the whole is NaN for a signal that is not relative."""
        x, whole = values[self.column], values[self.whole] if self.signal.relative is not None else math.nan
        if self.signal.own == "leave_out" and values[self.user_fraud] > 0:
            return x - 1.0, whole - 1.0
        return x, whole

    def strength(self, values: Sequence[float]) -> float:
        """For one row: the same operations in the same order, so the same bits."""
        signal = self.signal
        x, whole = self.read(values)
        ramp = (x - signal.low) / (signal.high - signal.low) * signal.top
        if math.isnan(ramp) or ramp <= 0.0:
            return 0.0
        if signal.own == "silent" and values[self.user_fraud] > 0:
            return 0.0
        if signal.least is not None and not values[self.least] >= signal.least[1]:
            return 0.0
        value = min(ramp, signal.top)
        if signal.relative is not None:
            value *= min(x / max(whole * signal.relative[1], 1.0), 1.0)
        if signal.covered and not values[self.labels[0]] + values[self.labels[1]] >= _COVERED * values[self.count]:
            return 0.0
        return value


def is_user(kind: Kind) -> bool:
    return kind.name == "user"


def is_personal(kind: Kind) -> bool:
    """Kinds that one person has to himself: a device, a card, an address."""
    return kind.strength == 2 and not kind.crowded


def is_place(kind: Kind) -> bool:
    """Kinds that many people pass through, and that links are kept for: an ip, a merchant, a terminal."""
    return kind.strength > 0 and kind.crowded
