"""Block and allow lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringwatch.errors import BadInput
from scorers.lists import ListBook
from scorers.scorer import Batch, Finding


class Listed:
    """An entity of the event is on the block list (score 1, whatever the others say) or on the allow list (the score is
    capped below the first alert level). An entry has an owner, a reason and an expiry; a block wins over an allow."""

    name = "listed"
    version = "1"

    def __init__(self) -> None:
        self.book = ListBook([])

    def score(self, batch: Batch) -> NDArray[np.float64]:
        values = np.full(len(batch), np.nan)
        if self.book:
            for i, event in enumerate(batch.events):
                entry = self.book.match(event)
                if entry is not None:
                    values[i] = 1.0 if entry.verdict == "block" else 0.0
        return values

    def explain(self, batch: Batch, row: int) -> list[Finding]:
        entry = self.book.match(batch.events[row])
        if entry is None:
            return []
        text = f"{entry.kind} is on the {entry.verdict} list: {entry.reason} ({entry.owner})"
        return [Finding(f"{entry.verdict}ed", text, 1.0, entry.kind, entry.id)]


def build(overrides: Mapping[str, Any]) -> Listed:
    if overrides:
        raise BadInput(f"detector listed has no threshold {next(iter(overrides))!r}", hint="its lists are a file")
    return Listed()
