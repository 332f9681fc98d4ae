"""Port: the lasting record of what was decided, alerted and labelled, and of how far each source was read.

`write` is one transaction: decisions, alert changes, labels, refusals and positions are all there or none is. A
decision already in the ledger (by running number or by tenant and event id) is left as it was first written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

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
    """New and changed alerts, whole: written by alert_id, the later state wins."""
    alert_events: Sequence[tuple[str, str]] = field(default_factory=list)
    """(alert_id, event_id) pairs added."""
    labels: Sequence[tuple[int, Label]] = field(default_factory=list)
    """(seq, label) read, whether or not already known at the stream's time; `known_at_us` says when it counts."""
    refusals: Sequence[Refusal] = field(default_factory=list)
    watermark_us: int | None = None
    """Highest event time seen; labels known up to it have been applied."""


@dataclass(frozen=True, slots=True)
class StoredAssessment:
    assessment: Assessment
    event: Event
    body_hash: bytes
    """16 bytes over the event's content, to tell a redelivery from a conflict."""
    features: dict[str, float]


class LedgerStore(Protocol):
    def prepare(self) -> None:
        """Migrate the schema to the newest version. Idempotent."""
        ...

    def write(self, *writes: LedgerWrite) -> None:
        """One transaction, in order. Raises `Unavailable` when the store cannot be written (full disk, locked)."""
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

    def close(self) -> None: ...


Row = dict[str, Any]
