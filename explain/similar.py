"""Earlier alerts that are like a decision: by what their reasons carried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt

import msgspec

from ringwatch.model import Alert, Reason

LEAST = 0.5
"""Less alike than that is not told."""


class Similar(msgspec.Struct, frozen=True):
    alert: Alert
    similarity: float
    """Cosine of the contributions by reason, 0.5..1."""
    reasons: tuple[str, ...]
    """Codes that both have, the weightiest of the decision first."""


def similar(
    reasons: Sequence[Reason], earlier: Iterable[tuple[Alert, Sequence[Reason]]], *, most: int
) -> list[Similar]:
    """The most alike first; of equals the latest, then the smaller id. `earlier`: alerts with the reasons of their highest scored events."""
    mine, found = _carried(reasons), []
    for alert, theirs in earlier:
        other = _carried(theirs)
        alike = min(
            1.0, sum(x * other.get(code, 0.0) for code, x in mine.items()) / (_length(mine) * _length(other) or 1.0)
        )
        if alike >= LEAST:
            both = sorted(mine.keys() & other.keys(), key=lambda code: (-mine[code], code))
            found.append(Similar(alert, alike, tuple(both)))
    return sorted(found, key=lambda s: (-s.similarity, -s.alert.last_at_us, s.alert.alert_id))[:most]


def _carried(reasons: Sequence[Reason]) -> dict[str, float]:
    total: dict[str, float] = {}
    for r in reasons:
        if r.contribution > 0.0:
            total[r.code] = total.get(r.code, 0.0) + r.contribution
    return total


def _length(carried: dict[str, float]) -> float:
    return sqrt(sum(x * x for x in carried.values()))
