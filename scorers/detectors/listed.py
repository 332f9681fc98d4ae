"""Block, watch and allow lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringwatch.errors import BadInput
from scorers.lists import VERDICTS, Lists
from scorers.scorer import Batch, Finding


class Listed:
    """An entity of the event is on the block list (score 1 and the action block, whatever the others say), on the watch list (the score is
    at least that of the first alert level), or on the allow list (the score is capped below it). An entry has an owner, a reason and an
    expiry; a block wins over a watch, a watch over an allow."""

    name = "listed"
    version = "2"

    def __init__(self) -> None:
        self.lists = Lists()

    def score(self, batch: Batch) -> NDArray[np.float64]:
        values = np.full(len(batch), np.nan)
        if book := self.lists.book:
            for i, event in enumerate(batch.events):
                entry = book.match(event)
                if entry is not None:
                    values[i] = VERDICTS[entry.verdict]
        return values

    def explain(self, batch: Batch, row: int) -> list[Finding]:
        entry = self.lists.book.match(batch.events[row])
        if entry is None:
            return []
        text = f"{entry.kind} is on the {entry.verdict} list: {entry.reason} ({entry.owner})"
        return [Finding(_CODES[entry.verdict], text, 1.0, entry.kind, entry.id)]


_CODES = {"block": "blocked", "watch": "watched", "allow": "allowed"}


def build(overrides: Mapping[str, Any]) -> Listed:
    if overrides:
        raise BadInput(f"detector listed has no threshold {next(iter(overrides))!r}", hint="its lists are a file")
    return Listed()
