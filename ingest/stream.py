"""Items in order -> state -> assessments. The one path that online scoring, ingest and backtest share.

Everything follows event time: a label waits until the stream has reached the time it became known, then it is
applied before the next event; learners are advanced at their marks. How the items are cut into batches changes nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from features.columns import Applied, ResolvedLabel
from features.state import StateStore
from ringwatch.model import Event
from scorers.assess import Assessor
from scorers.decision import Decisions

Pending = tuple[int, int, ResolvedLabel]
"""(known_at_us, seq, label), in the order it will be applied."""


class ScoringStream:
    """Feeds one state store and one assessor, in the order of the running numbers (`seq`)."""

    def __init__(self, state: StateStore, assessor: Assessor) -> None:
        self.state = state
        self.assessor = assessor
        self.watermark_us: int | None = None
        """Highest event time seen."""
        self._pending: list[Pending] = []

    def resume(self, watermark_us: int | None, pending: Sequence[Pending]) -> None:
        """Continue from a snapshot: the labels read before it that were not known yet."""
        self.watermark_us = watermark_us
        self._pending = list(pending)
        heapq.heapify(self._pending)

    def feed(self, items: Sequence[tuple[int, Applied]]) -> Decisions:
        """Apply (seq, item) pairs in order and assess the events among them."""
        events: list[Event] = []
        seqs: list[int] = []
        applied: list[Applied] = []
        for seq, item in items:
            if isinstance(item, ResolvedLabel):
                heapq.heappush(self._pending, (item.label.known_at_us, seq, item))
                continue
            self.watermark_us = max(self.watermark_us or item.at_us, item.at_us)
            while self._pending and self._pending[0][0] <= self.watermark_us:
                applied.append(heapq.heappop(self._pending)[2])
            applied.append(item)
            events.append(item)
            seqs.append(seq)
        return self._score(events, applied, np.array(seqs, np.int64), commit=True)

    def look(self, events: Sequence[Event]) -> Decisions:
        """Assess as if the events happened now, together and in order, and change nothing."""
        seq = np.full(len(events), -1, np.int64)
        return self._score(events, list(events), seq, commit=False)

    def _score(
        self, events: Sequence[Event], applied: Sequence[Applied], seq: NDArray[np.int64], *, commit: bool
    ) -> Decisions:
        started = perf_counter()
        features = self.state.apply(applied, commit=commit)
        state_us = (perf_counter() - started) * 1e6 / max(1, len(events))
        if not commit:
            decisions = self.assessor.assess(events, features, seq, learn=False)
        else:
            decisions = Decisions.concatenate(self._pieces(events, features, seq))
        return replace(decisions, timing_us={"state": state_us, **decisions.timing_us})

    def _pieces(
        self, events: Sequence[Event], features: NDArray[np.float32], seq: NDArray[np.int64]
    ) -> list[Decisions]:
        """The batch cut where learners must be advanced before the next event is scored."""
        pieces: list[Decisions] = []
        start = 0
        while start < len(events):
            mark = self.assessor.next_mark_us()
            if mark is not None and events[start].at_us >= mark:
                self.assessor.advance(events[start].at_us)
                mark = self.assessor.next_mark_us()
            end = start + 1
            while end < len(events) and (mark is None or events[end].at_us < mark):
                end += 1
            pieces.append(self.assessor.assess(events[start:end], features[start:end], seq[start:end]))
            start = end
        return pieces or [self.assessor.assess(events, features, seq)]
