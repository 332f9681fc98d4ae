"""`ringwatch score`: standard input to standard output, a batch of whatever has arrived at a time."""

from __future__ import annotations

import sys
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import msgspec

from ingest.source import Chunk
from ringwatch.model import Assessment, Event, Refusal

if TYPE_CHECKING:
    from ingest.mapping import Mapping
    from ringwatch.wiring import Service

_encode = msgspec.json.Encoder().encode


def score_stream(service: Service, mapping: Mapping | None, *, read_only: bool) -> None:
    source = service.source(["-"], mapping)
    for chunk in source.read():
        refused = {r.position: r for r in chunk.items if isinstance(r, Refusal)}
        if read_only:
            found = _look(service, chunk)
        else:
            decisions, conflicts = service.pipeline.process(chunk, "stdin")
            refused |= {r.position: r for r in conflicts}
            found = {e.event_id: decisions.assessment(i) for i, e in enumerate(decisions.events)}
            found |= _stored(service, [e for e in _events(chunk, refused) if e.event_id not in found])
        for refusal in refused.values():
            _say_refused(refusal)
        for event in _events(chunk, refused):
            sys.stdout.buffer.write(_encode(found[event.event_id]) + b"\n")
        sys.stdout.buffer.flush()


def _events(chunk: Chunk, refused: Container[int]) -> list[Event]:
    pairs = zip(chunk.items, chunk.positions, strict=True)
    return [item for item, position in pairs if isinstance(item, Event) and position not in refused]


def _look(service: Service, chunk: Chunk) -> dict[str, Assessment]:
    events = _events(chunk, ())
    decisions = service.pipeline.stream.look(events)
    return {e.event_id: decisions.assessment(i) for i, e in enumerate(events)}


def _stored(service: Service, redelivered: Sequence[Event]) -> dict[str, Assessment]:
    """What redelivered events were given when they came first."""
    found: dict[str, Assessment] = {}
    for tenant in {e.tenant for e in redelivered}:
        ids = [e.event_id for e in redelivered if e.tenant == tenant]
        stored = service.pipeline.outlets.ledger.assessments(tenant, ids)
        found |= {event_id: s.assessment for event_id, s in stored.items()}
    return found


def _say_refused(refusal: Refusal) -> None:
    row = {"refused": refusal.reason, "code": refusal.code, "record": refusal.position}
    sys.stderr.buffer.write(_encode(row) + b"\n")
    sys.stderr.buffer.flush()
