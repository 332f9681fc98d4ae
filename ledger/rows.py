"""Rows of the assessments table: what is packed into them, and the assessment they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from features.codec import FeatureCodec
from ledger.personal import ERASED, encode
from ledger.store import StoredAssessment
from ledger.subject_keys import Body
from ringwatch.model import DAY_US, Action, Alert, Assessment, Event, Level, Reason, Versions
from scorers.decision import Decisions

decode_alert = msgspec.msgpack.Decoder(Alert).decode
decode_reasons = msgspec.msgpack.Decoder(tuple[Reason, ...]).decode


class _Context(msgspec.Struct, array_like=True):
    """What most rows have nothing of. Fields are only added: earlier rows have fewer."""

    ring: str | None = None
    patterns: tuple[str, ...] = ()
    embedding_age_s: float | None = None
    links: bytes = b""
    hood: bytes = b""


_decode_context = msgspec.msgpack.Decoder(_Context).decode
_NOTHING = _Context()


def assessment_rows(
    d: Decisions, codec: FeatureCodec, version_ids: Sequence[int], body_of: Body
) -> list[tuple[Any, ...]]:
    """Rows of the assessments table, values in the order of its columns; `version_ids` has one entry a row."""
    timing = json.dumps({k: round(v, 2) for k, v in d.timing_us.items()})
    blobs = codec.pack(d.events, d.features)
    scores = np.ascontiguousarray(d.scores, dtype="<f8")
    rows = []
    columns = zip(d.seq.tolist(), d.events, d.score.tolist(), d.level.tolist(), d.action.tolist(), blobs, strict=True)
    for i, (seq, e, score, level, action, blob) in enumerate(columns):
        body = encode(e)
        rows.append((
            seq, e.tenant, e.event_id, e.at_us, score, level, action, scores[i].tobytes(),
            encode(d.reasons[i]) if d.reasons[i] else None, blob, body_of(e, body),
            hashlib.blake2b(body, digest_size=16).digest(), version_ids[i],
            ",".join(d.degraded[i]) or None, timing, _context_of(d, i),
        ))  # fmt: skip
    return rows


def entity_rows(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """Rows of the event_entities table, sorted by key."""
    return sorted(
        (e.tenant, e.at_us // DAY_US, kind, id_, e.at_us, e.event_id)
        for e in events
        for kind, id_ in e.entities.items()
    )


def _context_of(d: Decisions, row: int) -> bytes | None:
    """Of a row, None where it has none."""
    ring, patterns = d.ring_id(row), d.patterns[row]
    age_s = d.embedding_age_s[row] if d.embedding_age_s else None
    links, hood = (of[row] if of else b"" for of in (d.links, d.hoods))
    if links or hood:
        return encode((ring, patterns, age_s, links, hood) if hood else (ring, patterns, age_s, links))
    if age_s is not None:
        return encode((ring, patterns, age_s))
    return encode((ring, patterns)) if ring is not None or patterns else None


def schema_of(content: str) -> str:
    """Hash of the feature schema of a version's content."""
    return str(json.loads(content)[0]["schema"])


def stored_assessment(row: Any, event: Event, codec: FeatureCodec) -> StoredAssessment:
    """A row of assessments with the content of its version, and its event."""
    versions, names = json.loads(row["content"])
    scores = np.frombuffer(row["scores"], "<f8")
    features = codec.unpack(row["features"])
    names_of = codec.schema.names
    named = {names_of[i]: float(features[i]) for i in np.flatnonzero(~np.isnan(features))}
    context = _decode_context(row["context"]) if row["context"] else _NOTHING
    degraded = row["degraded"].split(",") if row["degraded"] else []
    assessment = Assessment(
        event_id=event.event_id,
        tenant=event.tenant,
        at_us=event.at_us,
        user=event.user,
        score=row["score"],
        level=Level(row["level"]).name,
        action=Action(row["action"]).name.lower(),
        scores={n: None if np.isnan(x) else float(x) for n, x in zip(names, scores, strict=True)},
        reasons=decode_reasons(row["reasons"]) if row["reasons"] else (),
        versions=msgspec.convert(versions, Versions),
        timing_us=json.loads(row["timing"]),
        degraded=(*degraded, ERASED) if ERASED in event.degraded else tuple(degraded),
        patterns=context.patterns,
        ring=context.ring,
        ring_age_s=named.get("ring.age_s"),
        embedding_age_s=context.embedding_age_s,
    )
    return StoredAssessment(assessment, event, row["body_hash"], named, context.links, context.hood)
