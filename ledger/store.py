"""Port: the lasting record of what was decided, alerted and labelled, and of how far each source was read.

`write` is one transaction: decisions, alert changes, labels, refusals and positions are all there or none is. What a decision
was first written as stays: one that is already there (by running number or by tenant and event id) is refused or left.
Running numbers grow along a source; there may be any gap between two, so that a consumer of a partition numbers by
partition and offset. Reads see what is committed; there may be any number of readers beside the writers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rings.entry import RingEntry
from ringwatch.model import Alert, Assessment, Event, Label, Refusal
from scorers.decision import Decisions


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a source was read, and the running numbers as of then."""

    source_id: str
    name: str
    position: int
    seq: int
    """Running number of the last item (event, label or refusal) of this data folder that the ledger holds."""
    finished: bool = False


@dataclass(slots=True)
class LedgerWrite:
    """One transaction's worth."""

    decisions: Decisions | None
    progress: Progress | None = None
    alerts: Sequence[Alert] = field(default_factory=list)
    """New and changed alerts, whole: of several states of an alert_id the one with most events counts, of equals the last written."""
    alert_events: Sequence[tuple[str, str]] = field(default_factory=list)
    """(alert_id, event_id) pairs added."""
    labels: Sequence[tuple[int, Label]] = field(default_factory=list)
    """(seq, label) read, whether or not already known at the stream's time; `known_at_us` says when it counts."""
    refusals: Sequence[Refusal] = field(default_factory=list)
    ring_history: Sequence[RingEntry] = field(default_factory=list)
    """What happened to rings; an entry that is there already is left as it is."""
    watermark_us: int | None = None
    """Highest event time seen; labels known up to it have been applied."""


IfKnown = Literal["refuse", "leave"]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the decisions of a `write`."""

    added: int = 0
    left: int = 0
    """Were there before, at the same event time, and stay as they were first written."""
    again: int = 0
    """Of those left: under another running number, as of an event that was decided once and told twice."""
    refused: tuple[tuple[str, str], ...] = ()
    """(tenant, event_id) of what was not written though it is not there: its id is, at another event time, or its running
    number is another event's. To be told to somebody."""


@dataclass(frozen=True, slots=True)
class KeptRing:
    """A ring as the ring keeper last told it."""

    tenant: str
    ring_id: str
    status: str
    risk: float
    users: int
    last_us: int
    """Event time of its last change."""
    content: bytes
    """The whole ring, packed by its keeper."""
    updated_seq: int
    """Grows with every state of the ring: of two states the higher one counts, in whatever order they come."""


@dataclass(frozen=True, slots=True)
class StoredAssessment:
    assessment: Assessment
    event: Event
    body_hash: bytes
    """16 bytes over the event's content, to tell a redelivery from a conflict."""
    features: dict[str, float]
    links: bytes = b""
    """Links of the event's entities as the features were read from them (`features.seen.unpack`); empty where they were not kept."""
    hood: bytes = b""
    """What the champion's graph network saw (`gnn.kept.unpack`); empty where none was asked, or it was not kept."""


class Peers(NamedTuple):
    """Events that others are held against."""

    types: tuple[str, ...]
    features: NDArray[np.float32]
    """(events, size of the schema); NaN: missing."""


class LedgerStore(Protocol):
    def prepare(self) -> None:
        """Migrate the schema to the newest version. Idempotent."""
        ...

    def write(self, *writes: LedgerWrite, if_known: IfKnown = "refuse") -> Written:
        """One transaction, in order. Raises `Unavailable` when the store cannot be written (full disk, gone, locked): trying again
        is right, and safe with "leave".

        `if_known` is about decisions that are there already. "refuse", for the one writer that numbers what it reads: they are a
        mistake, raises `Corrupt`. "leave", for consumers to which anything may be delivered again: they stay as they were first
        written, labels too; a write whose source was read further than its position is left as a whole; positions never go
        back, and a write to a position that was reached adds no refusals.
        """
        ...

    def progress(self, source_id: str) -> Progress | None: ...

    def last_seq(self) -> int:
        """Running number of the last item held, -1 when empty."""
        ...

    def watermark_us(self) -> int | None: ...

    def refusals(self) -> int:
        """Refusals counted so far."""
        ...

    def pending_labels(self, known_after_us: int, up_to_seq: int) -> Sequence[tuple[int, Label]]:
        """Labels read up to a running number and not applied then, in order (known_at, seq): known only after a time, or read
        after the last event, which labels wait for."""
        ...

    def replay(self, *, after_seq: int, chunk: int = 2000) -> Iterator[Sequence[tuple[int, Event | Label]]]:
        """Events and labels after a running number, in running order: what rebuilds state after a crash."""
        ...

    def event_bodies(self, *, limit: int) -> Iterator[tuple[str, str, bytes]]:
        """(tenant, event_id, body_hash) of the last `limit` events, oldest first."""
        ...

    def assessments(self, tenant: str, event_ids: Sequence[str]) -> dict[str, StoredAssessment]: ...

    def labels_of(self, tenant: str, target_kind: str, target_ids: Sequence[str]) -> set[Label]:
        """The labels there are about these targets."""
        ...

    def events_entities(self, tenant: str, event_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """event id -> its entities (kind -> id), for labels of events."""
        ...

    def alerts(
        self,
        *,
        tenant: str | None = None,
        level: str | None = None,
        since_us: int | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Sequence[Alert]:
        """Newest last_at first; `after` is the alert_id to continue behind."""
        ...

    def open_alerts(self, *, active_since_us: int) -> Sequence[Alert]: ...

    def alert_events(self, alert_id: str, *, limit: int = 100) -> Sequence[str]: ...

    def iterate(self, *, after_seq: int = -1, chunk: int = 1000) -> Iterator[Sequence[tuple[int, StoredAssessment]]]:
        """All assessments in running order, for consumers that catch up and for comparison."""
        ...

    def counts(self) -> dict[str, int]:
        """assessments, alerts, labels, refusals, bytes, and alerts by level ("alerts.HIGH")."""
        ...

    def retain(self, keep_from_us: int, *, dry_run: bool = False) -> dict[str, int]:
        """Drop the months (UTC) that ended by then: assessments and event ids of them, alerts whose last event lies in them,
        labels of their events, and the history of rings that ended in them. Beside writers and readers. Returns what was, or would be,
        dropped: partitions, events, alerts, labels, rings, and before_us, the time before which nothing is left."""
        ...

    def close(self) -> None: ...


class RingStore(Protocol):
    """Port: rings as their keeper tells them, for who shows them."""

    def write_rings(
        self, rings: Sequence[KeptRing], progress: Progress | None = None, history: Sequence[RingEntry] = ()
    ) -> None:
        """One transaction. A ring is replaced by a state with a higher `updated_seq` only. `progress` never goes back. Entries
        of the history that are there already are left as they are."""
        ...

    def rings(self, tenant: str, *, limit: int, least_users: int = 2) -> Sequence[KeptRing]:
        """Highest risk first, then most users, then id."""
        ...

    def ring(self, tenant: str, ring_id: str) -> KeptRing | None: ...

    def rings_named(self, tenant: str, ring_ids: Sequence[str]) -> Sequence[KeptRing]:
        """Those that there are, in any order."""
        ...

    def ring_history(self, tenant: str, ring_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[RingEntry]:
        """Entries after a number, in order; of a ring that ended, too."""
        ...
