"""Who is who in a source of labelled events: times, labels and what a protocol asks for, in source order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ingest.source import Source
from ringwatch.errors import BadInput
from ringwatch.model import Event, Label, Refusal

UNLABELLED, GOOD, FRAUD = -1, 0, 1
NEVER = 2**62
LEAST_OF_EACH = 20
"""Labels of good and of fraud that there must be: fewer teach nothing that can be checked."""


class TooFewLabels(BadInput):
    """Nothing can be learned from so few."""


@dataclass(slots=True)
class Rows:
    """One row an event, in source order."""

    ids: list[str] = field(default_factory=list)
    at_us: list[int] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    known_us: list[int] = field(default_factory=list)
    """When the label became known, by its own delay; NEVER without one."""
    entity: list[int] = field(default_factory=list)
    """Number of the entity that figures are counted by."""
    removed: list[bool] = field(default_factory=list)
    """Of the entity that the protocol reports without."""
    index: dict[str, int] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    detached: set[int] = field(default_factory=set)
    """Rows whose label comes in a later chunk than the event."""
    kinds: set[str] = field(default_factory=set)
    """Of the entities that events name."""
    refused: int = 0
    labels_first: bool = False
    """Whether some label comes before its event."""

    @property
    def sorted(self) -> bool:
        """Whether they are in order of time already."""
        return not self.labels_first and all(a <= b for a, b in zip(self.at_us, self.at_us[1:], strict=False))

    def tell(self, row: int, label: Label) -> None:
        """The last label of a row counts."""
        self.label[row] = FRAUD if label.label == "fraud" else GOOD
        self.known_us[row] = label.known_at_us

    def rank(self) -> NDArray[np.int64]:
        """Place of each row by event id, which orders ties."""
        return np.argsort(np.argsort(np.array(self.ids)))


def read_rows(
    source: Source,
    entity: str = "user",
    without: Mapping[str, str] | None = None,
    progress: Callable[[float | None, int], None] = lambda done, events: None,
) -> Rows:
    """One pass. `entity`: the kind figures are counted by; `without`: kind -> the entity whose events are told apart."""
    rows, apart = Rows(), dict(without or {})
    early: dict[str, Label] = {}
    for chunk in source.read():
        chunk_start = len(rows.ids)
        for item in chunk.items:
            if isinstance(item, Event):
                if item.event_id in rows.index:
                    rows.refused += 1
                    continue
                rows.index[item.event_id] = len(rows.ids)
                rows.ids.append(item.event_id)
                rows.at_us.append(item.at_us)
                rows.kinds.update(item.entities)
                rows.label.append(UNLABELLED)
                rows.known_us.append(NEVER)
                rows.entity.append(rows.codes.setdefault(item.entities.get(entity, ""), len(rows.codes)))
                rows.removed.append(any(item.entities.get(kind) == named for kind, named in apart.items()))
                if (label := early.pop(item.event_id, None)) is not None:
                    rows.tell(len(rows.ids) - 1, label)
                    rows.labels_first = True
            elif isinstance(item, Label):
                i = rows.index.get(item.target_id) if item.target_kind == "event" else None
                if i is not None:
                    rows.tell(i, item)
                    if i < chunk_start:
                        rows.detached.add(i)
                elif item.target_kind == "event":
                    early[item.target_id] = item
            elif isinstance(item, Refusal):
                rows.refused += 1
        progress(chunk.done, len(rows.ids))
    return rows
