"""The OpenAPI document: schemas from the values themselves, and examples that work when pasted."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api import answers
from api.problems import MEDIA, Problem
from ingest.events import INTEGER_FIELDS, OUTCOMES, TEXT_FIELDS
from ingest.intake import MAX_ITEMS
from ringwatch.model import BUILTIN_KINDS, Assessment, Kind, type_names

_REF = "#/components/schemas/{name}"
_VALUES = (
    Problem, Assessment, answers.ScoredBatch, answers.Accepted, answers.AlertPage, answers.AlertDetail,
    answers.AssessmentDetail, answers.RingPage, answers.RingDetail, answers.Health, answers.Ready, answers.StatusBody,
)  # fmt: skip
_STATUS_TEXT = {
    "400": "The body is not JSON, or not UTF-8", "401": "No key, or one that is not known, expired or revoked",
    "403": "The key may not do this, or belongs to another tenant", "404": "There is none",
    "409": "The id was seen with another content", "413": "Too large", "415": "Not JSON",
    "421": "The Host header names another server", "422": "A value is not accepted; the detail names it",
    "429": "Too many requests; Retry-After says when",
    "503": "Not now; Retry-After says when",
}  # fmt: skip
READ_ERRORS = ("401", "403", "404", "421", "422", "429", "503")
POST_ERRORS = ("400", "401", "403", "404", "409", "413", "415", "421", "422", "429", "503")
GUARD_ERRORS = ("401", "403", "421", "429")

EVENT_EXAMPLE: dict[str, Any] = {
    "event_id": "example-1", "type": "payment", "at": "2026-05-01T12:00:00Z", "user": "u-7", "card": "tok-1",
    "device": "d-3", "amount": 25.50, "currency": "EUR", "merchant": "m-9", "outcome": "approved",
    "attributes": {"basket": 3},
}  # fmt: skip
BATCH_EXAMPLE: list[dict[str, Any]] = [
    EVENT_EXAMPLE,
    {"event_id": "example-2", "type": "login", "at": "2026-05-01T12:05:00Z", "user": "u-8", "device": "d-3",
     "ip": "203.0.113.7", "outcome": "success"},
]  # fmt: skip
LABEL_EXAMPLE: dict[str, Any] = {
    "type": "label", "label_of": {"kind": "user", "id": "u-7"}, "label": "fraud", "known_at": "2026-05-20T00:00:00Z",
}  # fmt: skip
LABELS_EXAMPLE: list[dict[str, Any]] = [LABEL_EXAMPLE, {**LABEL_EXAMPLE, "label_of": {"kind": "device", "id": "d-3"}}]


def answers_with(body: type[msgspec.Struct], errors: tuple[str, ...]) -> dict[str, Any]:
    """What a FastAPI route says of its answers."""
    return {"responses": {int(s): r for s, r in _responses("200", body.__name__, errors).items()}}


def _responses(status: str, name: str, errors: tuple[str, ...]) -> dict[str, Any]:
    good = {"description": "Done", "content": {"application/json": {"schema": {"$ref": _REF.format(name=name)}}}}
    bad = {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}}
    assert MEDIA in bad
    return {status: good} | {s: {"description": _STATUS_TEXT[s], "content": bad} for s in errors}


def event_schema(kinds: tuple[Kind, ...] = BUILTIN_KINDS) -> dict[str, Any]:
    """A native event as JSON Schema. The door checks more: see docs/mapping.md."""
    id_ = {"type": "string", "minLength": 1, "maxLength": 256}
    text = {"type": ["string", "null"], "maxLength": 1024}
    integer = {"type": ["integer", "null"], "minimum": -(2**53), "maximum": 2**53}
    builtin = {kind.name for kind in BUILTIN_KINDS}
    properties: dict[str, Any] = {
        "event_id": {**id_, "description": "The same id gives the same assessment"},
        "type": {"enum": list(type_names)},
        "at": {"type": "string", "format": "date-time", "description": "With a zone; at most 5 minutes ahead of now"},
        "tenant": {"type": ["string", "null"], "description": "The key's tenant; leave it out"},
        "entities": {
            "type": ["object", "null"],
            "properties": {kind.name: {**id_, "type": ["string", "null"]} for kind in kinds},
            "additionalProperties": False,
        },
        "amount": {"type": ["number", "string", "null"], "description": "In major units; give this or amount_minor"},
        "amount_minor": {**integer, "minimum": 0},
        "currency": {"type": ["string", "null"], "pattern": "^[A-Z]{3}$"},
        "lat": {"type": ["number", "null"], "minimum": -90, "maximum": 90},
        "lon": {"type": ["number", "null"], "minimum": -180, "maximum": 180},
        "country": {"type": ["string", "null"], "pattern": "^[A-Za-z]{2}$"},
        "outcome": {"enum": [*OUTCOMES, None]},
        "attributes": {
            "type": ["object", "null"],
            "maxProperties": 64,
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        },
        **{name: {**id_, "type": ["string", "null"]} for name in builtin},
        **dict.fromkeys(TEXT_FIELDS, text),
        **dict.fromkeys(INTEGER_FIELDS, integer),
    }
    required = ["event_id", "type", "at"]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def label_schema(kinds: tuple[Kind, ...] = BUILTIN_KINDS) -> dict[str, Any]:
    id_ = {"type": "string", "minLength": 1, "maxLength": 256}
    targets = [
        {"type": "object", "properties": {"event": id_}, "required": ["event"], "additionalProperties": False},
        {
            "type": "object",
            "properties": {"kind": {"enum": [kind.name for kind in kinds]}, "id": id_},
            "required": ["kind", "id"],
            "additionalProperties": False,
        },
    ]
    properties = {
        "type": {"const": "label"}, "tenant": {"type": ["string", "null"]}, "label_of": {"anyOf": targets},
        "label": {"enum": ["fraud", "good"]}, "known_at": {"type": "string", "format": "date-time"},
    }  # fmt: skip
    required = ["type", "label_of", "label", "known_at"]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _post(summary: str, text: str, item: str, example: Any, batch: Any, good: dict[str, Any]) -> dict[str, Any]:
    ref = {"$ref": _REF.format(name=item)}
    either = {"anyOf": [ref, {"type": "array", "items": ref, "minItems": 1, "maxItems": MAX_ITEMS}]}
    examples = {"one": {"value": example}, "batch": {"value": batch}}
    return {
        "summary": summary,
        "description": text,
        "requestBody": {"required": True, "content": {"application/json": {"schema": either, "examples": examples}}},
        "responses": good,
    }


def _posts() -> dict[str, Any]:
    scored = _responses("200", "Assessment", POST_ERRORS)
    scored["200"]["content"]["application/json"]["schema"] = {
        "anyOf": [{"$ref": _REF.format(name="Assessment")}, {"$ref": _REF.format(name="ScoredBatch")}]
    }
    dry = {"name": "dry_run", "in": "query", "schema": {"type": "boolean", "default": False},
           "description": "Score each event as if it happened now, alone, and change nothing"}  # fmt: skip
    score = _post(
        "Score an event, or up to 1,000",
        "One event gives its assessment. A list gives a result for each, in order: an assessment, or the problem with it; "
        "the others go on. The same id gives the same assessment; with another content it is a conflict.",
        "EventIn", EVENT_EXAMPLE, BATCH_EXAMPLE, scored,
    )  # fmt: skip
    accepted = _responses("202", "Accepted", POST_ERRORS)
    events = _post(
        "Take events, scored behind those somebody waits for",
        "Acknowledged when they are kept (on disk, or by the brokers): a crash after the answer loses nothing.",
        "EventIn", EVENT_EXAMPLE, BATCH_EXAMPLE, accepted,
    )  # fmt: skip
    labels = _post(
        "Tell what turned out true", "Of an event or an entity; counts from `known_at`. Sent twice, it counts once.",
        "LabelIn", LABEL_EXAMPLE, LABELS_EXAMPLE, accepted,
    )  # fmt: skip
    return {
        "/v1/score": {"post": {"operationId": "score", "parameters": [dry], **score}},
        "/v1/events": {"post": {"operationId": "events", **events}},
        "/v1/labels": {"post": {"operationId": "labels", **labels}},
    }


def document(app: FastAPI, version: str, kinds: tuple[Kind, ...]) -> dict[str, Any]:
    """The whole document."""
    found = get_openapi(
        title="Ringwatch",
        version=version,
        description="Fraud rings in a stream of events: score, alerts, rings. Errors are problem documents (RFC 9457).",
        routes=app.routes,
    )
    _, schemas = msgspec.json.schema_components(_VALUES, ref_template=_REF)
    schemas |= {"EventIn": event_schema(kinds), "LabelIn": label_schema(kinds)}
    found["paths"] = _posts() | found["paths"]
    found["components"] = {
        "schemas": schemas,
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}, "basic": {"type": "http", "scheme": "basic"}},
    }
    found["security"] = [{"key": []}, {"basic": []}]
    for path in ("/healthz", "/readyz"):
        found["paths"][path]["get"]["security"] = []
    return found
