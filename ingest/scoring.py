"""What the API asks of whoever scores: the pipeline of a data folder, or scoring on a shared state (`roles/http_scoring.py`)."""

from __future__ import annotations

from typing import Protocol

from ingest.source import Chunk
from ingest.stream import ScoringStream
from ingest.tally import Taken, Tally
from ledger.store import LedgerStore
from rings.ring import RingReader
from ringwatch.model import Event
from scorers.decision import Decisions


class Scoring(Protocol):
    """One caller at a time."""

    @property
    def stream(self) -> ScoringStream: ...

    @property
    def tally(self) -> Tally: ...

    @property
    def rings(self) -> RingReader | None:
        """None where none are kept."""
        ...

    @property
    def ledger(self) -> LedgerStore:
        """What was decided before."""
        ...

    @property
    def graph_error(self) -> Exception | None:
        """What stopped the writing of the graph, where it is written here."""
        ...

    @property
    def recovers(self) -> bool:
        """Whether scoring goes on by itself once the stores are back; if not, a failure ends it."""
        ...

    @property
    def asked_anywhere(self) -> bool:
        """Whether any thread may look and read rings; if not, only the one that scores."""
        ...

    def stats(self) -> dict[str, int]:
        """Of the state of the entities."""
        ...

    def take(self, chunk: Chunk, source: str, source_id: str | None = None) -> Taken: ...

    def look(self, event: Event) -> Decisions | None: ...

    def flush(self) -> None:
        """Wait until everything taken is written. Raises what stopped it."""
        ...

    def begin_snapshot(self, *, quiet: bool = False) -> None: ...
