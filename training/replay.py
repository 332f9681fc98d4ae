"""Events in order of time through the scoring path, labels with their delay: each event as it was seen then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.columns import Applied, ResolvedLabel
from ingest.source import Source
from ingest.stream import ScoringStream
from ringwatch.model import Event, Label, Refusal
from scorers.decision import Decisions
from training.labelled import FRAUD, GOOD, Rows

Keep = Callable[[Decisions, NDArray[np.int64]], None]
"""Takes decisions and the row each is of."""
Done = Callable[[int], bool]
"""Told after each batch where to go on after it; whether the replay is to end there."""
Tell = Callable[[int, int, int], None]
"""Takes the labels that are fed: the row, 1 fraud or 0 good, and when it becomes known."""
_BATCH = 2000


class Where(msgspec.Struct, frozen=True):
    """How far a replay has come, and what it has in mind beside its stream."""

    seq: int = 0
    position: int = 0
    """To go on after: a record of the source or, where it is sorted first, the number of items fed."""
    entities: dict[str, dict[str, str]] = {}


class Replay:
    """The second pass over a source. `feeding` (rows,): whose labels are fed; `delay_us`: a label's delay, else its own."""

    def __init__(
        self, stream: ScoringStream, rows: Rows, feeding: NDArray[np.bool_], delay_us: int | None, keep: Keep,
        tell: Tell = lambda row, label, known_us: None,
    ) -> None:  # fmt: skip
        self._stream, self._rows, self._feeding = stream, rows, feeding
        self._delay_us, self._keep, self._tell = delay_us, keep, tell
        self._seq = self._position = 0
        self._seen: set[int] = set()
        self._entities: dict[str, dict[str, str]] = {}
        """Of the events whose label is still to come."""

    @property
    def where(self) -> Where:
        return Where(self._seq, self._position, self._entities)

    def go_on(self, where: Where, seen: NDArray[np.int64]) -> None:
        """From where another replay of these rows was, its stream restored; `seen` are the rows it kept."""
        self._seq, self._position, self._entities = where.seq, where.position, dict(where.entities)
        self._seen = set(seen.tolist())

    def run(self, source: Source, done: Done = lambda position: False) -> bool:
        """To the end, or to where `done` says so; whether it came to the end."""
        for items, position in self._batches(source):
            self._feed(items)
            self._position = position
            if done(position):
                return False
        return True

    def _batches(self, source: Source) -> Iterator[tuple[list[Event | Label], int]]:
        if not self._rows.sorted:
            yield from self._sorted(source)
            return
        for chunk in source.read(after=self._position):
            position = max(self._position, chunk.positions[-1] if chunk.positions else 0)
            yield [i for i in chunk.items if not isinstance(i, Refusal)], position

    def _sorted(self, source: Source) -> Iterator[tuple[list[Event | Label], int]]:
        """Out of order: all in memory, by (time, id); a label goes with the time it became known, after its own event."""
        items = [i for chunk in source.read() for i in chunk.items if not isinstance(i, Refusal)]
        items.sort(key=self._place)
        self._rows.detached.update(range(len(self._rows.ids)))
        for start, stop in pairwise([*range(self._position, len(items), _BATCH), len(items)]):
            yield items[start:stop], stop

    def _place(self, item: Event | Label) -> tuple[int, int, str, int]:
        if isinstance(item, Event):
            return item.at_us, 1, item.event_id, 0
        row = self._rows.index.get(item.target_id) if item.target_kind == "event" else None
        if row is not None and item.known_at_us <= self._rows.at_us[row]:
            return self._rows.at_us[row], 1, item.target_id, 1
        return item.known_at_us, 0, item.target_id, 0

    def _feed(self, items: list[Event | Label]) -> None:
        here = {i.event_id: i.entities for i in items if isinstance(i, Event)}
        applied: list[tuple[int, Applied]] = []
        for item in items:
            self._seq += 1
            if isinstance(item, Event):
                row = self._rows.index[item.event_id]
                if row not in self._seen:
                    self._seen.add(row)
                    applied.append((self._seq, item))
                    if row in self._rows.detached:
                        self._entities[item.event_id] = item.entities
            else:
                resolved = self._label(item, here)
                if resolved is not None:
                    applied.append((self._seq, resolved))
        decisions = self._stream.feed(applied)
        self._keep(decisions, np.array([self._rows.index[e.event_id] for e in decisions.events], np.int64))

    def _label(self, label: Label, here: dict[str, dict[str, str]]) -> ResolvedLabel | None:
        if label.target_kind != "event":
            return ResolvedLabel(label, {label.target_kind: label.target_id})
        row = self._rows.index.get(label.target_id)
        if row is None or not self._feeding[row]:
            return None
        entities = here.get(label.target_id) or self._entities.get(label.target_id)
        if entities is None:
            return None
        if self._delay_us is not None:
            label = msgspec.structs.replace(label, known_at_us=self._rows.at_us[row] + self._delay_us)
        self._tell(row, FRAUD if label.label == "fraud" else GOOD, label.known_at_us)
        return ResolvedLabel(label, entities)
