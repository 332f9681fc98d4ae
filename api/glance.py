"""What the scoring thread shows of itself."""

from __future__ import annotations

from typing import Any

from ingest.scoring import Scoring


class Glance:
    """What the thread shows of itself, for /status and every answer: made by it, read by anybody, never changed."""

    __slots__ = ("alerting", "degraded", "models", "rings", "snapshots", "stage_s", "state", "troubles", "watermark_us")

    def __init__(self, pipeline: Scoring, halted: str, failed: str) -> None:
        rings, tally = pipeline.stream.rings, pipeline.tally
        self.rings: dict[str, Any] = dict(rings.stats()) if rings is not None else {}
        self.state = dict(pipeline.stats())
        self.stage_s = dict(tally.stage_s)
        self.snapshots = tuple(tally.snapshots)
        self.watermark_us = pipeline.stream.watermark_us
        assessor, graph = pipeline.stream.assessor, pipeline.graph_error
        self.models = assessor.book.described
        books = [getattr(scorer, "book", None) for scorer in assessor.scorers]
        found = {
            "halted": halted,
            "after_ledger": failed,
            "graph": "" if graph is None else f"graph: {graph}",
            "snapshot": tally.snapshot_trouble,
            "models": assessor.book.trouble and f"models: {assessor.book.trouble}",
            "lists": assessor.list_trouble and f"lists: {assessor.list_trouble}",
            "rules": next((f"rules: {trouble}" for book in books if (trouble := getattr(book, "trouble", ""))), ""),
        }
        self.alerting = tuple(assessor.levels.status())
        budgets = (f"tenant {status.tenant}: {status.trouble}" for status in self.alerting if status.trouble)
        self.troubles = (*tally.troubles, *(text for text in found.values() if text), *budgets)
        self.degraded = (
            *(name for name, text in found.items() if text),
            *(("no_rings",) if pipeline.rings is None else ()),
        )

    @property
    def ring_age_s(self) -> float | None:
        """How far the ring data lies behind the newest event."""
        settled_us = int(self.rings.get("settled_us", 0))
        if settled_us <= 0 or self.watermark_us is None:
            return None
        return max(0.0, (self.watermark_us - settled_us) / 1e6)
