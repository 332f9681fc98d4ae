"""Items in order -> state -> assessments. The one path that online scoring, ingest and backtest share.

Everything follows event time: a label waits until the stream has reached the time it became known, then it is
applied before the next event; learners are advanced at their marks. How the items are cut into batches changes nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from features.columns import Applied, ResolvedLabel
from features.state import StateStore
from ingest.kept_links import kept_links
from rings.judged import Judged
from rings.keeper import RingAt
from ringwatch.model import Event, Strength
from scorers.assess import Assessor
from scorers.decision import Decisions
from scorers.lists import Entry

_NEVER = 2**62

Pending = tuple[int, int, ResolvedLabel]
"""(known_at_us, seq, label), in the order it will be applied."""
Numbered = tuple[int, Applied]
"""A running number and an event or label."""
_Decide = Callable[[Sequence[Event], Sequence[Numbered], slice], Decisions]


class Rings(Protocol):
    """What the stream asks of whoever keeps the rings: `rings.keeper.RingKeeper`, or what another process keeps."""

    next_mark_us: int | None

    def advance(self, at_us: int) -> None: ...

    def apply(self, items: Sequence[Numbered], features: NDArray[np.float32]) -> list[RingAt | None]: ...

    def look(self, events: Sequence[Event], features: NDArray[np.float32]) -> list[RingAt | None]: ...

    def learn(self, flagged: Sequence[tuple[str, str, tuple[str, ...]]]) -> None: ...

    def judge(self, judged: Sequence[Judged]) -> None: ...

    def accounts_on(self, tenant: str, kind: str, entity: str, up_to_seq: int) -> tuple[str, ...]: ...

    def stats(self) -> dict[str, int | float]: ...

    def dump(self) -> dict[str, NDArray[Any]]: ...

    def load(self, arrays: dict[str, NDArray[Any]]) -> None: ...


class ScoringStream:
    """Feeds one state store, one ring keeper and one assessor, in the order of the running numbers (`seq`)."""

    def __init__(
        self, state: StateStore, assessor: Assessor, rings: Rings | None = None, *, learns: bool = True
    ) -> None:
        """`learns`: whether what is scored here also teaches the assessor's learners."""
        self.state = state
        self.assessor = assessor
        self.rings = rings
        self._learns = learns
        self._levels_learn = learns and assessor.levels.active
        self._strong = frozenset(
            kind.name for kind in assessor.schema.kinds if kind.strength is Strength.STRONG and not kind.crowded
        )
        self.watermark_us: int | None = None
        """Highest event time seen."""
        self._pending: list[Pending] = []
        self._innocent: tuple[Entry, ...] = ()
        self._judged: tuple[Judged, ...] = ()

    @property
    def pending(self) -> tuple[Pending, ...]:
        """Labels read that are not known yet, in no order."""
        return tuple(self._pending)

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
        features, seen = self.state.apply_seen([item for _, item in applied])
        state_us = (perf_counter() - started) * 1e6 / max(1, len(features))
        decisions = self.assess(applied, features)
        links = kept_links(decisions, seen, range(len(decisions)))
        return replace(decisions, links=links, timing_us={"state": state_us, **decisions.timing_us})

    def assess(self, applied: Sequence[Numbered], features: NDArray[np.float32]) -> Decisions:
        """Decisions of the events among items that the state has taken in, with its features of theirs; labels count at once."""

        def decide(events: Sequence[Event], items: Sequence[Numbered], rows: slice) -> Decisions:
            seq = np.array([number for number, item in items if not isinstance(item, ResolvedLabel)], np.int64)
            decisions = self._assess(events, items, features[rows], seq)
            if self._levels_learn:
                self.assessor.levels.learn(_from_event(items), decisions)
            return decisions

        return Decisions.concatenate(self._pieces(applied, decide) or [self._nothing(features)])

    def follow(self, applied: Sequence[Numbered], made: Decisions) -> Decisions:
        """Take in what was decided elsewhere, in order: rings and learners as if it had been decided here. `made` are the decisions of
        the events among the items; they are given back with the rings and accounts as they are here."""

        def decide(events: Sequence[Event], items: Sequence[Numbered], rows: slice) -> Decisions:
            piece = made.select(rows.start, rows.stop)
            if self._learns:
                self.assessor.learn(events, piece.features, piece.ring_ids)
            if self._levels_learn:
                self.assessor.levels.learn(_from_event(items), piece)
            if self.rings is None:
                return piece
            features = piece.features.copy()
            at = self.rings.apply(items, features)
            seq = np.array([number for number, item in items if not isinstance(item, ResolvedLabel)], np.int64)
            return self._flag(replace(piece, seq=seq, features=features, ring_ids=_ids(at)), at)

        return Decisions.concatenate(self._pieces(applied, decide) or [made])

    def _nothing(self, features: NDArray[np.float32]) -> Decisions:
        return self.assessor.assess([], features[:0], np.zeros(0, np.int64), learn=False)

    def judge(self) -> None:
        """Have the rings hear of what people judged innocent since."""
        lists = self.assessor.lists
        if self.rings is None or lists is None:
            return
        if lists.innocent is not self._innocent:
            self._innocent = lists.innocent
            self._judged = tuple(
                Judged(e.tenant or "", e.kind, e.id, e.owner, e.reason, e.expires_us, e.users) for e in self._innocent
            )
        self.rings.judge(self._judged)

    def look(self, events: Sequence[Event]) -> Decisions:
        """Assess as if the events happened now, together and in order, and change nothing."""
        started = perf_counter()
        features = self.state.apply(list(events), commit=False)
        state_us = (perf_counter() - started) * 1e6 / max(1, len(events))
        decisions = self.see(events, features)
        return replace(decisions, timing_us={"state": state_us, **decisions.timing_us})

    def see(self, events: Sequence[Event], features: NDArray[np.float32]) -> Decisions:
        """As `look`, with features that were read."""
        at = [] if self.rings is None else self.rings.look(events, features)
        seq = np.full(len(events), -1, np.int64)
        return self.assessor.assess(events, features, seq, ring_ids=_ids(at), learn=False, look=True)

    def _pieces(self, applied: Sequence[Numbered], decide: _Decide) -> list[Decisions]:
        """The batch cut where learners and rings must be advanced before the next event is scored. Labels after the last event are
        of the last piece; without any event they go to the rings alone."""
        self.judge()
        places = [i for i, (_, item) in enumerate(applied) if not isinstance(item, ResolvedLabel)]
        events: list[Event] = [applied[i][1] for i in places]  # type: ignore[misc]
        if events:
            newest_us = max(event.at_us for event in events)
            self.watermark_us = max(self.watermark_us or newest_us, newest_us)
        pieces: list[Decisions] = []
        start = 0
        while start < len(events):
            if self._levels_learn:
                self.assessor.levels.learn_labels(applied[places[start - 1] + 1 if start else 0 : places[start]])
            mark = self._advance(events[start].at_us)
            end = start + 1
            while end < len(events) and events[end].at_us < mark:
                end += 1
            last = places[end - 1] + 1 if end < len(events) else len(applied)
            items = applied[places[start - 1] + 1 if start else 0 : last]
            pieces.append(decide(events[start:end], items, slice(start, end)))
            start = end
        if not events and self._levels_learn:
            self.assessor.levels.learn_labels(applied)
        if not events and applied and self.rings is not None:
            self.rings.apply(applied, np.zeros((0, self.assessor.schema.size), np.float32))
        return pieces

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
        items: Sequence[Numbered],
        features: NDArray[np.float32],
        seq: NDArray[np.int64],
    ) -> Decisions:
        if self.rings is None:
            return self.assessor.assess(events, features, seq, learn=self._learns, items=items)
        started = perf_counter()
        at = self.rings.apply(items, features)
        rings_us = (perf_counter() - started) * 1e6 / len(events)
        decisions = self.assessor.assess(events, features, seq, ring_ids=_ids(at), learn=self._learns, items=items)
        return self._flag(replace(decisions, timing_us={"rings": rings_us, **decisions.timing_us}), at)

    def _flag(self, decisions: Decisions, at: Sequence[RingAt | None]) -> Decisions:
        """With the accounts concerned by patterns. The rings are told of users whose own events these are: what an alert says of others, it
        says because of what they share, which the rings know."""
        assert self.rings is not None
        accounts: list[tuple[str, ...]] = [()] * len(decisions)
        flagged: list[tuple[str, str, tuple[str, ...]]] = []
        for row, patterns in enumerate(decisions.patterns):
            if patterns:
                accounts[row] = self._accounts(decisions, row, at[row])
                event = decisions.events[row]
                flagged += [(event.tenant, event.user, patterns)] if event.user is not None else []
        self.rings.learn(flagged)
        return replace(decisions, accounts=accounts)

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


def _from_event(items: Sequence[Numbered]) -> Sequence[Numbered]:
    """From the first event on: labels before it are learned before its mark."""
    return items[next(i for i, (_, item) in enumerate(items) if not isinstance(item, ResolvedLabel)) :]


def _ids(at: Sequence[RingAt | None]) -> list[str | None]:
    return [None if ring is None else ring.ring_id for ring in at]
