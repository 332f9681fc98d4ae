"""`ringwatch score`: standard input to standard output, a batch of whatever has arrived at a time."""

from __future__ import annotations

import sys
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
        for refusal in (item for item in chunk.items if isinstance(item, Refusal)):
            _say_refused(refusal)
        found = _look(service, chunk) if read_only else _take(service, chunk)
        for item in chunk.items:
            if isinstance(item, Event) and item.event_id in found:
                sys.stdout.buffer.write(_encode(found[item.event_id]) + b"\n")
        sys.stdout.buffer.flush()


def _look(service: Service, chunk: Chunk) -> dict[str, Assessment]:
    events = [item for item in chunk.items if isinstance(item, Event)]
    decisions = service.pipeline.stream.look(events)
    return {e.event_id: decisions.assessment(i) for i, e in enumerate(events)}


def _take(service: Service, chunk: Chunk) -> dict[str, Assessment]:
    decisions, conflicts = service.pipeline.process(chunk, "stdin")
    for refusal in conflicts:
        _say_refused(refusal)
    found = {e.event_id: decisions.assessment(i) for i, e in enumerate(decisions.events)}
    refused = {r.position for r in conflicts}
    before = [
        item
        for item, position in zip(chunk.items, chunk.positions, strict=True)
        if isinstance(item, Event) and item.event_id not in found and position not in refused
    ]
    for tenant in {e.tenant for e in before}:
        ids = [e.event_id for e in before if e.tenant == tenant]
        stored = service.pipeline.outlets.ledger.assessments(tenant, ids)
        found |= {event_id: s.assessment for event_id, s in stored.items()}
    return found


def _say_refused(refusal: Refusal) -> None:
    row = {"refused": refusal.reason, "code": refusal.code, "record": refusal.position}
    sys.stderr.buffer.write(_encode(row) + b"\n")
    sys.stderr.buffer.flush()
