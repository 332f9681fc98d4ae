"""`ringwatch score`: standard input to standard output, a batch of whatever has arrived at a time."""

from __future__ import annotations

import sys
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import msgspec

from ingest.source import Chunk
from ringwatch.errors import BadInput
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
            _look(service, chunk, refused)
            continue
        taken = service.pipeline.process(chunk, "stdin")
        decisions = taken.decisions
        refused |= {r.position: r for r in taken.refused}
        found = {e.event_id: decisions.assessment(i) for i, e in enumerate(decisions.events)}
        found |= _stored(service, [e for e in _events(chunk, refused) if e.event_id not in found])
        for refusal in refused.values():
            _say_refused(refusal.reason, refusal.code, refusal.position)
        for event in _events(chunk, refused):
            _say(found[event.event_id])
        sys.stdout.buffer.flush()


def _look(service: Service, chunk: Chunk, refused: dict[int, Refusal]) -> None:
    """Each event alone, on what is known now: the answer does not depend on what else arrives."""
    for refusal in refused.values():
        _say_refused(refusal.reason, refusal.code, refusal.position)
    for event, position in zip(chunk.items, chunk.positions, strict=True):
        if not isinstance(event, Event):
            continue
        try:
            decisions = service.pipeline.look(event)
        except BadInput as error:
            _say_refused(error.message, str(error.context["code"]), position)
            continue
        _say(decisions.assessment(0) if decisions is not None else _stored(service, [event])[event.event_id])
    sys.stdout.buffer.flush()


def _events(chunk: Chunk, refused: Container[int]) -> list[Event]:
    pairs = zip(chunk.items, chunk.positions, strict=True)
    return [item for item, position in pairs if isinstance(item, Event) and position not in refused]


def _stored(service: Service, redelivered: Sequence[Event]) -> dict[str, Assessment]:
    """What redelivered events were given when they came first."""
    found: dict[str, Assessment] = {}
    for tenant in {e.tenant for e in redelivered}:
        ids = [e.event_id for e in redelivered if e.tenant == tenant]
        stored = service.pipeline.outlets.ledger.assessments(tenant, ids)
        found |= {event_id: s.assessment for event_id, s in stored.items()}
    return found


def _say(assessment: Assessment) -> None:
    sys.stdout.buffer.write(_encode(assessment) + b"\n")


def _say_refused(reason: str, code: str, position: int) -> None:
    sys.stderr.buffer.write(_encode({"refused": reason, "code": code, "record": position}) + b"\n")
    sys.stderr.buffer.flush()
