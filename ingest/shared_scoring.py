"""Events and labels in, decisions out, on a state that several processes share.

Each tenant's stretch of a batch is one compare-and-set: read, kernel, score, write records with ids and results; on a conflict it begins
again, smaller after three. An id seen before is not applied again: brought by the same message (a batch that was read again after
a crash) its stored decision is emitted, brought by another it is a duplicate and the decision of then is the answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import groupby
from time import perf_counter

import msgspec
import numpy as np
from numpy.typing import NDArray

from bus.decisions import decision_messages, to_decisions
from bus.messages import DecisionMessage, LabelMessage, decode, encode, key_of, key_of_label, label_id
from features.codec import FeatureCodec
from features.columns import Applied, ResolvedLabel
from features.shared_state import CONFLICT, NEW, REBUILDING, Entry, Found, Pending, SharedState
from ingest.keeper import Grouped, Keeper
from ingest.kept_links import kept_links
from ingest.redelivery import body_hash
from ingest.stream import Numbered, ScoringStream
from rings.elsewhere import RingsElsewhere
from rings.published import Published, RingChange, Told
from ringwatch.errors import Conflict, Unavailable
from ringwatch.model import Event
from scorers.decision import Decisions

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_LABEL = "\x00label:"
"""Begins the ids of labels: no event id has it, since those are printable."""
TRIES = 3


class Rebuilding(Unavailable):
    """The state is being rebuilt: who can wait does."""


@dataclass(slots=True)
class Scored:
    """What came of a batch."""

    decisions: list[Decisions] = field(default_factory=list)
    """Of the events that were new (alone: and of those taken up again), in order."""
    alerts: list[Grouped] = field(default_factory=list)
    """Theirs, where the rings are kept here."""
    messages: list[tuple[bytes, bytes]] = field(default_factory=list)
    """(key, message) for the decisions topic, in order."""
    ids: dict[str, list[str]] = field(default_factory=dict)
    """tenant -> ids to settle once the messages are out."""
    known: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    """(tenant, event id) of duplicates -> the message of then, None when the state no longer has it."""
    conflicts: list[int] = field(default_factory=list)
    """Places in the batch whose id stands for another content."""
    duplicates: int = 0
    conflicted: int = 0
    """Times a stretch began again."""


class SharedScoring:
    """Thread-safe: one batch at a time. With a `keeper` this is the only process that scores, and rings are kept here."""

    def __init__(
        self,
        state: SharedState,
        stream: ScoringStream,
        *,
        keeper: Keeper | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`stream` scores: the keeper's own, or one on `RingsElsewhere`."""
        self.state = state
        self.stream = stream
        self.keeper = keeper
        self.lock = threading.RLock()
        self.codec = FeatureCodec(state.schema)
        self.recover: Callable[[], Told] = dict
        """Brings the keeper's memory to where the decisions topic is, and says which rings were told (`Published`)."""
        self.refresh: Callable[[], None] = lambda: None
        """Takes over what others learned; called before each batch."""
        self._clock = clock
        self._last_us = 0
        self._behind = keeper is not None
        self._under_way = 0
        """Batches scored whose messages are not out yet."""
        self._unsure: set[str] = set()
        """Who had a transaction of which it is not known whether it went through."""
        self._placed: dict[int, int] = {}
        self.published = Published(keeper.rings) if keeper is not None else None
        self._touched: set[str] = set()
        """Rings of events scored since they were last told."""
        self._counting = threading.Lock()
        """Of the three above: who says that a batch is out does not wait for the next to be scored."""

    def score(self, items: Sequence[Applied], origins: Sequence[bytes], *, patient: bool) -> Scored:
        """Apply in order and decide; the batch is then on its way out, and `ended` or `failed` follows. `origins` say where each
        came from. With `patient`, raises `Rebuilding` while the state is not whole, before anything is changed.

        Raises Unavailable and StateLost as the state does; with a keeper its memory may then be ahead: bring it back.
        """
        with self.lock:
            self.ready()
            self._begun()
            try:
                return self._score(items, origins, patient)
            except BaseException:
                self.failed()
                raise

    def _score(self, items: Sequence[Applied], origins: Sequence[bytes], patient: bool) -> Scored:
        entries = [entry_of(item, origin) for item, origin in zip(items, origins, strict=True)]
        scored = Scored()
        start = 0
        for tenant, group in groupby(entries, key=lambda e: _tenant(e.item)):
            stretch = list(group)
            self._stretch(tenant, stretch, start, scored, patient)
            start += len(stretch)
        return scored

    # -- the keeper's memory, which must be as the decisions topic says

    def ready(self) -> None:
        """Bring the memory back if a batch failed. Call with the lock."""
        self.refresh()
        with self._counting:
            behind, waits, unsure = self._behind, self._under_way > 0, bool(self._unsure)
        if behind and unsure:
            raise Unavailable(
                "whether a batch went out is not known yet", hint="it is found out by itself", retry_after_s=0.5
            )
        if behind and waits:
            raise Unavailable(
                "a batch failed, and another is on its way out", hint="it is tried again", retry_after_s=0.1
            )
        if behind:
            told = self.recover()
            self._behind = False
            if self.keeper is not None:
                self.published = Published(self.keeper.rings, told)
                self._touched = self.published.everything()
            self._placed = {}

    def follow(self, messages: Sequence[DecisionMessage | LabelMessage]) -> list[Grouped]:
        """Decisions that were made before and go out only now, for the keeper; they are on their way then, as after `score`. Call
        with the lock."""
        self.ready()
        self._begun()
        if self.keeper is None:
            return []
        followed = self.keeper.follow(messages)
        return [(followed.alerts, followed.joined, followed.new)]

    def _begun(self) -> None:
        with self._counting:
            self._under_way += 1

    def ended(self, placed: Mapping[int, int]) -> None:
        """It is out: partition of the decisions topic -> next offset."""
        with self._counting:
            self._under_way -= 1
            for partition, offset in placed.items():
                self._placed[partition] = max(self._placed.get(partition, 0), offset)

    def failed(self, unsure: str = "") -> None:
        """It is not out, and memory may be ahead of the topic. `unsure`: whose transaction it was in, which may yet go through: memory is
        brought back once who it is says `sure`."""
        with self._counting:
            self._under_way -= 1
            self._behind = self.keeper is not None
            if unsure and self.keeper is not None:
                self._unsure.add(unsure)

    def sure(self, who: str) -> None:
        """Every transaction of theirs has ended, one way or the other."""
        with self._counting:
            self._unsure.discard(who)

    def snapshot(self, *, wait: bool = False) -> None:
        """Of the keeper, when it is due and nothing is on its way out."""
        if self.keeper is None:
            return
        with self.lock:
            with self._counting:
                if self._under_way or self._behind:
                    return
                self.keeper.positions |= self._placed
            self.keeper.snapshot(wait=wait)

    def changed_rings(self) -> list[RingChange]:
        """Rings of the keeper that changed since this was last asked. Call with the lock."""
        if self.keeper is None or self._behind or self.published is None:
            return []
        self.stream.judge()
        touched, self._touched = self._touched, set()
        return self.published.changes(touched)

    def tell_again(self) -> None:
        """What `changed_rings` gave did not get through. Call with the lock."""
        if self.published is not None:
            self.published.forget()
            self._touched |= self.published.everything()

    def no_features(self) -> NDArray[np.float32]:
        return np.zeros((0, self.state.schema.size), np.float32)

    def settle(self, scored: Scored, *, keep: bool) -> None:
        """The messages are out. `keep` their decisions for a while, for who asks again."""
        for tenant, ids in scored.ids.items():
            self.state.settle(tenant, ids, keep=keep)

    def _stretch(self, tenant: str, entries: list[Entry], start: int, scored: Scored, patient: bool) -> None:
        for _ in range(TRIES):
            began = perf_counter()
            pending = self.state.begin(tenant, entries)
            read_us = (perf_counter() - began) * 1e6
            rebuilding = any(REBUILDING in why for why in pending.degraded)
            if patient and rebuilding:
                raise Rebuilding("the state is being rebuilt", hint="it goes on by itself")
            if self._attempt(tenant, entries, pending, start, scored, read_us):
                return
            scored.conflicted += 1
            if self.keeper is not None and rebuilding:
                raise Rebuilding("the state was rebuilt meanwhile", hint="it is tried again", retry_after_s=0.2)
            if self.keeper is not None:
                raise Conflict(
                    "another process writes the state that this one keeps the rings of",
                    hint="run one process with all roles, or scorers and a ring-keeper apart",
                )
        if len(entries) == 1:
            raise Unavailable("other scorers were faster each time", hint="it is tried again")
        half = len(entries) // 2
        self._stretch(tenant, entries[:half], start, scored, patient)
        self._stretch(tenant, entries[half:], start + half, scored, patient)

    def _attempt(
        self, tenant: str, entries: list[Entry], pending: Pending, start: int, scored: Scored, read_us: float
    ) -> bool:
        """Score what was read and write it; False when somebody was faster. Nothing is noted then."""
        found = pending.found
        fresh = set(pending.rows)
        again = {i for i, (e, f) in enumerate(zip(entries, found, strict=True)) if _again(e, f)}
        decisions, numbers = self._decide(entries, pending, again)
        decisions = replace(decisions, timing_us={"state": read_us / max(1, len(decisions)), **decisions.timing_us})
        first_us = self._now_us(len(entries))
        origins, times = [entries[i].origin.decode() for i in numbers], [first_us + i for i in numbers]
        made = decision_messages(decisions, origins, times, self.codec) if numbers else []
        message_of = dict(zip(numbers, made, strict=True))
        for i in again:
            message_of[i] = found[i].result or _label_message(entries[i], first_us + i)
        labels = [i for i, what in enumerate(found) if what.status == NEW and i not in fresh]
        for i in labels:
            message_of[i] = _label_message(entries[i], first_us + i)
        if not pending.commit([message_of[i] for i in pending.rows], [message_of[i] for i in labels]):
            return False
        if len(decisions):
            scored.decisions.append(decisions)
            if self.keeper is not None:
                self._touched |= {ring for ring in decisions.ring_ids if ring is not None}
                scored.alerts.append(self.keeper.group(decisions))
        ids = scored.ids.setdefault(tenant, [])
        for i, (entry, what) in enumerate(zip(entries, found, strict=True)):
            if (message := message_of.get(i)) is not None:
                scored.messages.append((_key(entry.item), message))
                ids.append(entry.id)
            elif what.status == CONFLICT:
                scored.conflicts.append(start + i)
            else:
                scored.duplicates += 1
                if isinstance(entry.item, Event):
                    scored.known.setdefault((tenant, entry.id), what.result)
        return True

    def _decide(self, entries: list[Entry], pending: Pending, again: set[int]) -> tuple[Decisions, list[int]]:
        """Decisions of the new events, and which entries they are. A keeper takes in what comes again, too, in its place: it was
        brought back without it."""
        rows = list(pending.rows)
        features = pending.features
        if self.keeper is None:
            if isinstance(self.stream.rings, RingsElsewhere):
                self.stream.rings.bring(pending.rings)
            applied: list[Numbered] = [(-1, entries[i].item) for i in rows]
            numbers = rows
        else:
            taken = sorted({*again, *(i for i, f in enumerate(pending.found) if f.status == NEW)})
            applied = [(self.keeper.number(), entries[i].item) for i in taken]
            numbers = [i for i in taken if isinstance(entries[i].item, Event)]
            if again:
                features = self._with_stored(pending, numbers, again)
        decisions = self.stream.assess(applied, features)
        place = {i: j for j, i in enumerate(rows)}
        links = kept_links(decisions, pending.seen, [place.get(i, -1) for i in numbers])
        decisions = replace(decisions, links=links)
        extra = dict(zip(rows, pending.degraded, strict=True))
        if any(extra.values()):
            told = [(*d, *extra.get(i, ())) for i, d in zip(numbers, decisions.degraded, strict=True)]
            decisions = replace(decisions, degraded=told)
        return decisions, numbers

    def _with_stored(self, pending: Pending, numbers: list[int], again: set[int]) -> NDArray[np.float32]:
        features = np.full((len(numbers), self.state.schema.size), np.nan, np.float32)
        place = {i: j for j, i in enumerate(pending.rows)}
        for row, i in enumerate(numbers):
            result = pending.found[i].result
            if i in again and result is not None:
                message = decode(result)
                assert isinstance(message, DecisionMessage)
                features[row] = self.codec.unpack(message.features)
            else:
                features[row] = pending.features[place[i]]
        return features

    def _now_us(self, n: int) -> int:
        """The first of `n` times that no message of this process has yet: one for each item, in the order they were taken in, which is
        the order a replay reads them in, whatever partitions they are on (what goes out later keeps its time)."""
        now = max(int(self._clock() * 1e6), self._last_us + 1)
        self._last_us = now + n - 1
        return now

    def known(self, messages: Sequence[bytes]) -> list[Decisions]:
        """Decisions from before, as they were made."""
        decoded = [m for raw in messages if isinstance(m := decode(raw), DecisionMessage)]
        return to_decisions(decoded, self.codec, np.full(len(decoded), -1, np.int64))


def _again(entry: Entry, found: Found) -> bool:
    """Whether the very message is read a second time, and its decision may not be out yet."""
    if found.status == NEW or found.origin != entry.origin or found.status == CONFLICT:
        return False
    return found.result is not None or isinstance(entry.item, ResolvedLabel)


def _label_message(entry: Entry, decided_us: int) -> bytes:
    item = entry.item
    assert isinstance(item, ResolvedLabel)
    return encode(
        LabelMessage(
            v=1, id=entry.id.removeprefix(_LABEL), label=item.label, entities=item.entities,
            origin=entry.origin.decode(), decided_us=decided_us,
        )
    )  # fmt: skip


def entry_of(item: Applied, origin: bytes) -> Entry:
    if isinstance(item, Event):
        return Entry(item, item.event_id, body_hash(item), origin)
    body = blake2b(_encode(item.label), digest_size=16).digest()
    return Entry(item, _LABEL + label_id(item.label), body, origin)


def _tenant(item: Applied) -> str:
    return item.tenant if isinstance(item, Event) else item.label.tenant


def _key(item: Applied) -> bytes:
    return key_of(item) if isinstance(item, Event) else key_of_label(item.label, item.entities)
