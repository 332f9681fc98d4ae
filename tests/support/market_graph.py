"""A small simulated market in a graph, with the rings the ring keeper finds in it and an alert for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import numpy as np

from features.schema import FeatureSchema
from graph.aggregate import Aggregator
from graph.neo4j_store import Neo4jGraph
from graph.shown import MemberShown, RingShown
from ingest.simulate.simulate import SimulationConfig, simulate
from rings.keeper import RingKeeper
from rings.ring import Ring
from ringwatch.model import BUILTIN_KINDS, Alert, Event
from tests.support.door import decoder

BATCH = 500


@dataclass(frozen=True)
class Market:
    events: Sequence[Event]
    rings: Sequence[Ring]
    """Riskiest first."""
    alerts: Sequence[Alert]
    """One a ring, in the rings' order."""


def fill(graph: Neo4jGraph, *, events: int = 3_000, seed: int = 7) -> Market:
    """Writes everything; the graph is prepared and empty before."""
    happened = _events(events, seed)
    aggregator = Aggregator(BUILTIN_KINDS)
    marks = [*range(0, len(happened), BATCH), len(happened)]
    for start, end in pairwise(marks):
        for event in happened[start:end]:
            aggregator.add_event(event, alerted=False)
        graph.apply(aggregator.take(end))
    rings = _rings(happened)
    alerts = [_alert(n, ring) for n, ring in enumerate(rings)]
    graph.show_rings([_shown(ring, len(happened)) for ring in rings])
    graph.show_alerts(alerts)
    return Market(happened, rings, alerts)


def _events(count: int, seed: int) -> list[Event]:
    config = SimulationConfig(events=count, seed=seed, days=10, fraud_share=0.05)
    read = decoder()
    found = []
    for event in simulate(config):
        at = (config.start + timedelta(seconds=event.at_s)).isoformat()
        item = read.decode(json.dumps({**event.fields, "at": at}).encode())
        if isinstance(item, Event):
            found.append(item)
    return found


def _rings(events: Sequence[Event]) -> list[Ring]:
    schema = FeatureSchema()
    keeper, row = RingKeeper(schema), np.zeros((1, schema.size), np.float32)
    for seq, event in enumerate(events):
        if keeper.next_mark_us is not None and event.at_us >= keeper.next_mark_us:
            keeper.advance(event.at_us)
        keeper.apply([(seq, event)], row)
    found = [keeper.ring(r.tenant, r.ring_id) for r in keeper.rings()]
    return sorted((r for r in found if r is not None), key=lambda r: (-r.summary.risk, r.summary.ring_id))


def _shown(ring: Ring, version: int) -> RingShown:
    about = ring.summary
    return RingShown(
        about.tenant, about.ring_id, "active", version, about.risk, about.users, about.born_us, about.last_us,
        about.amount_minor, about.patterns, tuple(MemberShown(m.user, m.joined_us) for m in ring.members),
        tuple((t.kind, t.entity) for t in ring.shared),
    )  # fmt: skip


def _alert(n: int, ring: Ring) -> Alert:
    about = ring.summary
    return Alert(
        f"{n:024x}", about.tenant, "ring", about.ring_id, "patterns.coordinated_accounts", about.born_us, about.last_us,
        about.users, about.risk, "HIGH", "now", f"{about.users} accounts share {about.things} things", about.amount_minor,
        accounts=tuple(m.user for m in ring.members), ring=about.ring_id,
    )  # fmt: skip
