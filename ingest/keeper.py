"""What follows the decisions in order and remembers: rings, what learners learn, open alerts.

One keeper sees all decisions: the scorer that is alone, or the ring keeper behind several. Its memory is a function of the decisions
and labels in their order, so it is brought back by the last snapshot and a replay of the decisions topic after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import msgspec
import numpy as np

from bus.decisions import to_decisions
from bus.messages import DecisionMessage, LabelMessage
from features.codec import FeatureCodec
from features.columns import Applied, ResolvedLabel
from features.schema import FeatureSchema
from features.state import NoState
from ingest.snapshot import Position, Snapshots, Underway
from ingest.stream import Numbered, ScoringStream
from ledger.alerting import AlertGrouper
from rings.keeper import RingKeeper
from ringwatch.errors import Corrupt
from ringwatch.model import Alert, Event
from scorers.assess import Assessor
from scorers.decision import Decisions


class _Beside(msgspec.Struct, frozen=True):
    """What a snapshot holds besides rings and learners."""

    seq: int
    positions: dict[int, int]
    now_us: int | None
    alerts: list[Alert]
    schema: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Beside).decode


Grouped = tuple[Sequence[Alert], Mapping[str, tuple[str, ...]], frozenset[str]]
"""Alerts new and changed, whole; alert id -> the events that were added; the alerts founded."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What came of some messages."""

    decisions: Decisions
    """With rings and accounts as the keeper knows them."""
    alerts: Sequence[Alert]
    """New and changed, whole."""
    joined: Mapping[str, tuple[str, ...]]
    """alert id -> the events that were added."""
    new: frozenset[str]
    """Alerts founded here."""


class Keeper:
    """Not thread-safe. `stream` scores with the rings of this keeper, where its process does that too."""

    def __init__(
        self, assessor: Assessor, rings: RingKeeper, grouper: AlertGrouper, folder: Path, *, interval_s: float = 30.0
    ) -> None:
        self.rings = rings
        self.stream = ScoringStream(_Kept(self, assessor.schema), assessor, rings)
        self.seq = -1
        """Running number of the last message taken in."""
        self.positions: dict[int, int] = {}
        """Partition of the decisions topic -> next offset."""
        self.troubles: list[str] = []
        self._grouper = grouper
        self._fresh_grouper = grouper.empty
        self._codec = FeatureCodec(assessor.schema)
        self._snapshots = Snapshots(folder)
        self._empty = assessor.dump(), rings.dump()
        self._interval_s = interval_s
        self._due = monotonic() + interval_s
        self._underway: Underway | None = None
        self._kept_seq = -1

    @property
    def schema(self) -> FeatureSchema:
        return self.stream.assessor.schema

    def number(self) -> int:
        self.seq += 1
        return self.seq

    def group(self, decisions: Decisions) -> Grouped:
        """Alerts of decisions that `stream` made."""
        alerts, pairs = self._grouper.add(decisions)
        joined: dict[str, tuple[str, ...]] = {}
        for alert_id, event_id in pairs:
            joined[alert_id] = (*joined.get(alert_id, ()), event_id)
        return alerts, joined, frozenset(a.alert_id for a in alerts if a.events == len(joined[a.alert_id]))

    def follow(self, messages: Sequence[DecisionMessage | LabelMessage]) -> Followed:
        """Take in messages of the decisions topic, in order."""
        applied: Sequence[Numbered] = [(self.number(), _item(message)) for message in messages]
        decided = [m for m in messages if isinstance(m, DecisionMessage)]
        seq = np.array([number for number, item in applied if isinstance(item, Event)], np.int64)
        pieces = to_decisions(decided, self._codec, seq)
        found: list[Decisions] = []
        rest = applied
        for piece in pieces:
            mine, rest = _cut(rest, len(piece))
            found.append(self.stream.follow(mine, piece))
        if rest or not pieces:
            found.append(self.stream.follow(rest, self._nothing()))
        alerts: list[Alert] = []
        joined: dict[str, tuple[str, ...]] = {}
        new: frozenset[str] = frozenset()
        for decisions in found:
            some, added, founded = self.group(decisions)
            alerts, new = [*(a for a in alerts if a.alert_id not in added), *some], new | founded
            joined |= {alert_id: (*joined.get(alert_id, ()), *events) for alert_id, events in added.items()}
        return Followed(Decisions.concatenate(found), alerts, joined, new)

    def _nothing(self) -> Decisions:
        features = np.zeros((0, self.schema.size), np.float32)
        return self.stream.assessor.assess([], features, np.zeros(0, np.int64), learn=False)

    # -- keeping

    def restore(self) -> None:
        """Memory as of the newest snapshot that can be read, empty without one; `positions` say where to go on."""
        if self._underway is not None:
            self._underway.result()
            self._underway = None
        self.stream.assessor.load(self._empty[0])
        self.rings.load(self._empty[1])
        self._reset(_Beside(-1, {}, None, [], self.schema.hash))
        _, self.troubles = self._snapshots.restore(self.stream)
        self._kept_seq = self.seq

    def snapshot(self, *, wait: bool = False) -> None:
        """Write a snapshot behind the caller when it is due; with `wait` now, and wait for it."""
        if self._underway is not None:
            if not (wait or self._underway.done):
                return
            trouble, self._underway = self._underway.result(), None
            if trouble:
                self.troubles = [trouble]
        if self.seq == self._kept_seq or not (wait or monotonic() >= self._due):
            return
        self._due = monotonic() + self._interval_s
        position = Position(seq=self.seq)
        try:
            if wait:
                self._snapshots.write(position, self.stream)
            else:
                self._underway = self._snapshots.begin(position, self.stream, lambda: None)
            self._kept_seq = self.seq
        except (OSError, RuntimeError) as error:
            self.troubles = [f"the snapshot at {self.seq} was not written: {error}"]

    def _beside(self) -> bytes:
        now_us, alerts = self._grouper.dump()
        return _encode(_Beside(self.seq, self.positions, now_us, alerts, self.schema.hash))

    def _take_beside(self, raw: bytes) -> None:
        try:
            found = _decode(raw)
        except msgspec.MsgspecError as error:
            raise Corrupt(f"the snapshot cannot be read: {error}", hint="an older one is used") from None
        if found.schema != self.schema.hash:
            raise Corrupt(
                f"the snapshot belongs to feature schema {found.schema}, not {self.schema.hash}",
                hint="the decisions are replayed",
            )
        self._reset(found)

    def _reset(self, found: _Beside) -> None:
        self.seq, self.positions = found.seq, dict(found.positions)
        self._grouper = self._fresh_grouper()
        if found.now_us is not None:
            self._grouper.restore(found.alerts, found.now_us)


class _Kept(NoState):
    """Where a stream has its state: what the keeper holds besides, so that a snapshot of the stream is one of the keeper."""

    def __init__(self, keeper: Keeper, schema: FeatureSchema) -> None:
        super().__init__(schema)
        self._keeper = keeper

    def snapshot(self, path: Path, *, position: int) -> None:
        path.write_bytes(self._keeper._beside())

    def restore(self, path: Path) -> int:
        self._keeper._take_beside(path.read_bytes())
        return self._keeper.seq


def _item(message: DecisionMessage | LabelMessage) -> Applied:
    return message.event if isinstance(message, DecisionMessage) else ResolvedLabel(message.label, message.entities)


def _cut(items: Sequence[Numbered], events: int) -> tuple[Sequence[Numbered], Sequence[Numbered]]:
    """The first so many events with the labels before each of them; the rest."""
    seen = 0
    for i, (_, item) in enumerate(items):
        seen += isinstance(item, Event)
        if seen == events:
            return items[: i + 1], items[i + 1 :]
    return items, []
