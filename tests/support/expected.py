"""A stream of events, and what an undisturbed run of it leaves: computed in this process by the embedded parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from features.memory_state import MemoryState
from features.schema import FeatureSchema
from graph.aggregate import Aggregator
from graph.store import GraphBatch
from ingest.simulate.simulate import SimulationConfig, write_simulation
from ingest.stream import ScoringStream
from ledger.alerting import AlertGrouper
from rings.entry import RingEntry
from rings.keeper import RingKeeper
from ringwatch.model import DAY_US, HOUR_US, Alert, Event
from ringwatch.settings import Settings
from ringwatch.wiring import open_assessor, open_decoder
from scorers.decision import Decisions


@dataclass(frozen=True, slots=True)
class Expected:
    """What an undisturbed run leaves, computed in this process by the embedded parts."""

    decisions: Decisions
    alerts: dict[str, Alert]
    state: MemoryState
    graph: GraphBatch
    rings: dict[str, int]
    """Ring -> its users."""
    history: list[RingEntry]
    """What happened to rings, sorted by ring and number."""


def market(folder: Path, events: int, seed: int = 11) -> list[bytes]:
    """Native events, without labels."""
    write_simulation(SimulationConfig(events=events, seed=seed, days=20), folder)
    lines = (folder / "events.jsonl").read_bytes().splitlines()
    return [line for line in lines if b'"type":"label"' not in line]


def events_of(lines: Sequence[bytes], tenant: str) -> list[Event]:
    schema = FeatureSchema()
    decoder = open_decoder(Settings(tenant=tenant), schema.kinds, tenant)
    found = [decoder.decode(line) for line in lines]
    return [item for item in found if isinstance(item, Event)]


def expected(lines: Sequence[bytes], tenant: str, *, models_dir: Path | None = None) -> Expected:
    """`models_dir`: with the learned models that this folder says serve."""
    schema, settings = FeatureSchema(), Settings(models_dir=models_dir)
    events = events_of(lines, tenant)
    state = MemoryState(schema, max_entities=100_000)
    rings = RingKeeper(schema)
    rings.keep_history()
    assessor = open_assessor(settings, schema, serves=models_dir is not None, whole=False)
    stream = ScoringStream(state, assessor, rings)
    decisions = stream.feed(list(enumerate(events)))
    grouper = AlertGrouper(int(settings.alert_window_h * HOUR_US), int(settings.ring_alert_window_days * DAY_US))
    alerts, _ = grouper.add(decisions)
    aggregator = Aggregator(schema.kinds)
    aggregator.add(decisions)
    return Expected(
        decisions,
        {a.alert_id: a for a in alerts},
        state,
        aggregator.take(len(events)),
        {r.ring_id: r.users for r in rings.rings(tenant)},
        sorted(rings.take_history(), key=lambda e: (e.ring_id, e.number)),
    )
