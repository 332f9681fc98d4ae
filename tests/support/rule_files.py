"""Rule files for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.schema import FeatureSchema
from ringwatch.model import Event
from scorers.scorer import Batch

SCHEMA = FeatureSchema()
AT_US = 1_777_636_800_000_000
"""2026-05-01T12:00:00Z"""
_RAW = ("when", "fixtures")
"""Fields given as YAML."""


def rule(condition: str, **fields: Any) -> str:
    """One rule in YAML; `fields` replace or add, None leaves out."""
    given = {"id": "one", "owner": "anna", "mode": "act", "if": condition, "reason": "because", **fields}
    lines = [
        f"{name}: {value if name in _RAW else _quoted(value)}" for name, value in given.items() if value is not None
    ]
    return "  - " + "\n    ".join(lines) + "\n"


def rules(*each: str) -> str:
    return "rules:\n" + "".join(each)


def _quoted(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def event(i: int = 0, type_: str = "payment", **fields: Any) -> Event:
    return Event(**{"event_id": f"e{i}", "type": type_, "at_us": AT_US, "entities": {}, **fields})


def batch(events: list[Event], features: list[dict[str, float]], schema: FeatureSchema = SCHEMA) -> Batch:
    matrix = np.full((len(events), schema.size), np.nan, np.float32)
    for i, row in enumerate(features):
        for name, value in row.items():
            matrix[i, schema.index[name]] = value
    return Batch(events, matrix, schema)
