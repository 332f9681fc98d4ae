"""What came of a chunk, and of a run: for callers, people and programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from ingest.outlets import Spent
from ringwatch.model import Assessment, Level, Refusal
from scorers.decision import Decisions

_LEVELS = [level.name for level in Level]


@dataclass(slots=True)
class Tally:
    """What a run did, for people and programs."""

    events: int = 0
    labels: int = 0
    refusals: int = 0
    duplicates: int = 0
    alerts: dict[str, int] = field(default_factory=dict)
    """New alerts, by their level in the end."""
    levels: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_LEVELS, 0))
    """Events by level."""
    replayed: int = 0
    """Events replayed from the ledger on start-up."""
    troubles: list[str] = field(default_factory=list)
    snapshot_trouble: str = ""
    """Why the last snapshot was not written."""
    snapshots: list[tuple[float, float]] = field(default_factory=list)
    """(milliseconds scoring stood still, milliseconds in all) of the last snapshots."""
    seconds: float = 0.0
    done: float | None = 0.0
    stage_s: dict[str, float] = field(default_factory=dict)
    already_finished: bool = False
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a chunk."""

    decisions: Decisions
    """Of its new events."""
    refused: Sequence[Refusal]
    """What was refused here: conflicts, labels of unknown events."""
    written: Future[Spent]
    """Done when it is in the ledger."""
    known: Mapping[tuple[str, str], Assessment] = field(default_factory=dict)
    """(tenant, event id) -> the assessment of an event seen before, where it is at hand; the ledger has the others."""
