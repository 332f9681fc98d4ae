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
from rings.keeper import RingAt, RingKeeper
from ringwatch.model import Event, Strength
from scorers.assess import Assessor
from scorers.decision import Decisions

_NEVER = 2**62

Pending = tuple[int, int, ResolvedLabel]
"""(known_at_us, seq, label), in the order it will be applied."""


class ScoringStream:
    """Feeds one state store, one ring keeper and one assessor, in the order of the running numbers (`seq`)."""

    def __init__(self, state: StateStore, assessor: Assessor, rings: RingKeeper | None = None) -> None:
        self.state = state
        self.assessor = assessor
        self.rings = rings
        self._strong = frozenset(
            kind.name for kind in state.schema.kinds if kind.strength is Strength.STRONG and not kind.crowded
        )
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
        applied: list[tuple[int, Applied]] = []
        for seq, item in items:
            if isinstance(item, ResolvedLabel):
                heapq.heappush(self._pending, (item.label.known_at_us, seq, item))
                continue
            self.watermark_us = max(self.watermark_us or item.at_us, item.at_us)
            while self._pending and self._pending[0][0] <= self.watermark_us:
                _, label_seq, label = heapq.heappop(self._pending)
                applied.append((label_seq, label))
            applied.append((seq, item))
        started = perf_counter()
        features = self.state.apply([item for _, item in applied])
        state_us = (perf_counter() - started) * 1e6 / max(1, len(features))
        decisions = Decisions.concatenate(self._pieces(applied, features))
        return replace(decisions, timing_us={"state": state_us, **decisions.timing_us})

    def look(self, events: Sequence[Event]) -> Decisions:
        """Assess as if the events happened now, together and in order, and change nothing."""
        started = perf_counter()
        features = self.state.apply(list(events), commit=False)
        state_us = (perf_counter() - started) * 1e6 / max(1, len(events))
        at = [] if self.rings is None else self.rings.look(events, features)
        seq = np.full(len(events), -1, np.int64)
        decisions = self.assessor.assess(events, features, seq, ring_ids=_ids(at), learn=False)
        return replace(decisions, timing_us={"state": state_us, **decisions.timing_us})

    def _pieces(self, applied: Sequence[tuple[int, Applied]], features: NDArray[np.float32]) -> list[Decisions]:
        """The batch cut where learners and rings must be advanced before the next event is scored."""
        places = [i for i, (_, item) in enumerate(applied) if not isinstance(item, ResolvedLabel)]
        events: list[Event] = [applied[i][1] for i in places]  # type: ignore[misc]
        seq = np.array([applied[i][0] for i in places], np.int64)
        pieces: list[Decisions] = []
        start = 0
        while start < len(events):
            mark = self._advance(events[start].at_us)
            end = start + 1
            while end < len(events) and events[end].at_us < mark:
                end += 1
            items = applied[places[start - 1] + 1 if start else 0 : places[end - 1] + 1]
            pieces.append(self._assess(events[start:end], items, features[start:end], seq[start:end]))
            start = end
        return pieces or [self.assessor.assess(events, features, seq)]

    def _advance(self, at_us: int) -> int:
        """Bring whoever learns from the stream to the time of the next event; when it must be done again."""
        mark = self.assessor.next_mark_us()
        if mark is not None and at_us >= mark:
            self.assessor.advance(at_us)
            mark = self.assessor.next_mark_us()
        if self.rings is None:
            return _NEVER if mark is None else mark
        if self.rings.next_mark_us is None or at_us >= self.rings.next_mark_us:
            self.rings.advance(at_us)
        return min(_NEVER if m is None else m for m in (mark, self.rings.next_mark_us))

    def _assess(
        self,
        events: Sequence[Event],
        items: Sequence[tuple[int, Applied]],
        features: NDArray[np.float32],
        seq: NDArray[np.int64],
    ) -> Decisions:
        if self.rings is None:
            return self.assessor.assess(events, features, seq)
        started = perf_counter()
        at = self.rings.apply(items, features)
        rings_us = (perf_counter() - started) * 1e6 / len(events)
        decisions = self.assessor.assess(events, features, seq, ring_ids=_ids(at))
        accounts: list[tuple[str, ...]] = [()] * len(events)
        flagged: list[tuple[str, str, tuple[str, ...]]] = []
        for row, patterns in enumerate(decisions.patterns):
            if patterns:
                accounts[row] = self._accounts(decisions, row, at[row])
                flagged += [(events[row].tenant, user, patterns) for user in accounts[row]]
        self.rings.learn(flagged)
        return replace(decisions, accounts=accounts, timing_us={"rings": rings_us, **decisions.timing_us})

    def _accounts(self, decisions: Decisions, row: int, at: RingAt | None) -> tuple[str, ...]:
        """Accounts an event with patterns is about: its user, those linked to the shared things its reasons name, and the
        members of its ring where a reason names the ring; as of the event."""
        event = decisions.events[row]
        found = {} if event.user is None else {event.user: None}
        for reason in decisions.reasons[row]:
            if reason.kind is None or reason.entity is None or reason.code.split(".")[0] not in decisions.patterns[row]:
                continue
            if reason.kind == "ring" and at is not None:
                found |= dict.fromkeys(at.members)
            elif reason.kind in self._strong and self.rings is not None:
                seq = int(decisions.seq[row])
                found |= dict.fromkeys(self.rings.accounts_on(event.tenant, reason.kind, reason.entity, seq))
        return tuple(found)


def _ids(at: Sequence[RingAt | None]) -> list[str | None]:
    return [None if ring is None else ring.ring_id for ring in at]
