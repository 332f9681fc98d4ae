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
from scorers import kernel
from scorers.scorer import Batch, Finding

Values = NDArray[np.float64]
_OWN = {"count": kernel.COUNT, "leave_out": kernel.LEAVE_OUT, "silent": kernel.SILENT}


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
    """Linear ramp, 0 where missing. (n,), float64 in [0, top]."""
    found: Values = kernel.ramps(np.ascontiguousarray(x, np.float64), low, high, top)
    return found


class SignalScorer:
    """A scorer made of signals. Subclasses give name, version, docstring and the signals."""

    name = ""
    version = "1"

    def __init__(self, signals: Sequence[Signal]) -> None:
        self._signals = tuple(signals)
        self._plans: dict[str, Plan] = {}

    def _plan(self, schema: FeatureSchema) -> Plan:
        plan = self._plans.get(schema.hash)
        if plan is None:
            pairs = [(s, kind) for s in self._signals for kind in schema.kinds if s.applies(kind)]
            here = [(s, kind) for s, kind in pairs if f"{kind.name}.{s.feature}" in schema.index]
            plan = self._plans[schema.hash] = Plan([Placed.of(s, kind, schema) for s, kind in here])
        return plan

    def score(self, batch: Batch) -> Values:
        """Noisy-or of the signals; abstains on events that name no entity any signal is about."""
        found: Values = kernel.score_signals(batch.features, *self._plan(batch.schema).arrays)
        return found

    def explain(self, batch: Batch, row: int) -> list[Finding]:
        event, values = batch.events[row], batch.features[row].tolist()
        plan = self._plan(batch.schema)
        findings = []
        for weight, placed in zip(
            kernel.signals_of(batch.features, row, *plan.arrays).tolist(), plan.placed, strict=True
        ):
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

    def read(self, values: Sequence[float]) -> tuple[float, float]:
        """(value, whole) of one row; the whole is NaN for a signal that is not relative."""
        x, whole = values[self.column], values[self.whole] if self.signal.relative is not None else math.nan
        if self.signal.own == "leave_out" and values[self.user_fraud] > 0:
            return x - 1.0, whole - 1.0
        return x, whole


class Plan:
    """Placed signals and the arrays that `kernel.score_signals` reads."""

    def __init__(self, placed: Sequence[Placed]) -> None:
        """Every signal at every kind it applies to and the schema has its feature for."""
        self.placed = placed
        at = [
            (p.column, p.count, p.least, p.whole, *p.labels, p.user_fraud, _OWN[p.signal.own], p.signal.covered)
            for p in placed
        ]
        ranges = [
            (s.low, s.high, s.top, 0.0 if s.least is None else s.least[1], 0.0 if s.relative is None else s.relative[1])
            for s in (p.signal for p in placed)
        ]
        self.arrays = np.array(at, np.int64).reshape(-1, 9), np.array(ranges, np.float64).reshape(-1, 5)


def is_user(kind: Kind) -> bool:
    return kind.name == "user"


def is_personal(kind: Kind) -> bool:
    """Kinds that one person has to himself: a device, a card, an address."""
    return kind.strength == 2 and not kind.crowded


def is_place(kind: Kind) -> bool:
    """Kinds that many people pass through, and that links are kept for: an ip, a merchant, a terminal."""
    return kind.strength > 0 and kind.crowded
