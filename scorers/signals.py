"""Signals: one feature, one ramp, one sentence. The building block of the hand-written scorers.

A signal's strength rises linearly from 0 at `low` to `top` at `high` and stays there. The signals of a scorer are
joined by noisy-or, 1 - prod(1 - s): independent pieces of evidence add up, none can exceed 1 (Pearl 1988).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringwatch.model import Kind
from scorers.scorer import Batch, Finding

Values = NDArray[np.float64]
_COVERED = np.float32(0.2)


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
    """With {value}, {kind} and {entity}."""
    applies: Callable[[Kind], bool]
    least: tuple[str, float] | None = None
    """(feature of the same slot, least value) for the signal to mean anything."""
    show: Callable[[float], str] = "{:.0f}".format
    covered: bool = False
    """Only where at least a fifth of the slot's events were confirmed one way or the other: where mostly frauds are
    ever
    reported, the rate among the confirmed says little."""


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

    def _slots(self, batch: Batch) -> list[tuple[Signal, Kind]]:
        return [(s, kind) for s in self._signals for kind in batch.schema.kinds if s.applies(kind)]

    def _value(self, batch: Batch, signal: Signal, kind: Kind) -> Values:
        value = strength(batch.column(f"{kind.name}.{signal.feature}"), signal.low, signal.high, signal.top)
        if signal.least is not None:
            feature, least = signal.least
            enough = batch.column(f"{kind.name}.{feature}") >= least
            value = np.where(enough, value, 0.0)
        if signal.covered:
            labels = batch.column(f"{kind.name}.fraud_labels") + batch.column(f"{kind.name}.good_labels")
            value = np.where(labels >= _COVERED * batch.column(f"{kind.name}.count_all"), value, 0.0)
        return value

    def _present(self, batch: Batch) -> NDArray[np.bool_]:
        """Rows this scorer has something to say about; it abstains on the others."""
        present = np.zeros(len(batch), np.bool_)
        for kind in {kind for _, kind in self._slots(batch)}:
            present |= ~np.isnan(batch.column(f"{kind.name}.count_all"))
        return present

    def score(self, batch: Batch) -> Values:
        calm = np.ones(len(batch))
        for signal, kind in self._slots(batch):
            calm = calm * (1.0 - self._value(batch, signal, kind))
        return np.where(self._present(batch), 1.0 - calm, np.nan)

    def explain(self, batch: Batch, row: int) -> list[Finding]:
        event, values = batch.events[row], batch.features[row]
        findings = []
        for signal, kind in self._slots(batch):
            raw = _cell(batch, values, f"{kind.name}.{signal.feature}")
            weight = _one_strength(raw, signal)
            if weight <= 0.0:
                continue
            if (
                signal.least is not None
                and not _cell(batch, values, f"{kind.name}.{signal.least[0]}") >= signal.least[1]
            ):
                continue
            if signal.covered and not self._value(_one(batch, row), signal, kind)[0] > 0.0:
                continue
            entity = event.entities.get(kind.name)
            text = signal.text.format(value=signal.show(raw), kind=kind.name.replace("_", " "), entity=entity)
            code = signal.code if kind.name == "user" else f"{signal.code}_{kind.name}"
            findings.append(Finding(code, text + self._detail(batch, row, kind), weight, kind.name, entity))
        return sorted(findings, key=lambda f: (-f.weight, f.code))

    def _detail(self, batch: Batch, row: int, kind: Kind) -> str:
        """More words for a finding, from the same slot."""
        return ""


def _one(batch: Batch, row: int) -> Batch:
    return Batch(batch.events[row : row + 1], batch.features[row : row + 1], batch.schema)


def _cell(batch: Batch, values: NDArray[np.float32], name: str) -> float:
    column = batch.schema.index.get(name)
    return math.nan if column is None else float(values[column])


def _one_strength(raw: float, signal: Signal) -> float:
    """`strength` for one value: the same operations in the same order, so the same bits."""
    ramp = (raw - signal.low) / (signal.high - signal.low) * signal.top
    return 0.0 if math.isnan(ramp) else min(max(ramp, 0.0), signal.top)


def is_user(kind: Kind) -> bool:
    return kind.name == "user"


def is_personal(kind: Kind) -> bool:
    """Kinds that one person has to himself: a device, a card, an address."""
    return kind.strength == 2 and not kind.crowded


def is_place(kind: Kind) -> bool:
    """Kinds that many people pass through, and that links are kept for: an ip, a merchant, a terminal."""
    return kind.strength > 0 and kind.crowded
