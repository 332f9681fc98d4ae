"""The published JSON Schemas: of what goes out, made from the messages; of what comes in, written by hand.

`python -m bus.schema` rewrites those that are made. Descriptions are the lines beneath the fields in the code.
"""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from bus import messages
from rings import entry
from ringwatch import model
from ringwatch.errors import NotFound, did_you_mean

FOLDER = Path(__file__).parent / "schemas"
MADE: dict[str, type[msgspec.Struct]] = {
    "decision": messages.DecisionMessage,
    "label": messages.LabelMessage,
    "alert": messages.AlertMessage,
    "features": messages.FeaturesMessage,
    "dead_letter": messages.DeadLetter,
    "ring": messages.RingMessage,
}
WRITTEN = ("event_in", "label_in")
TOPIC_OF = {
    "event_in": "events",
    "label_in": "labels",
    "decision": "decisions",
    "label": "decisions",
    "alert": "alerts",
    "features": "features",
    "dead_letter": "dlq",
    "ring": "rings",
}
_SAID = {
    "kind": "What this is.",
    "Alert.kind": "Kind of the entity it is about; ring for a ring.",
    "Reason.kind": "Kind of the entity the reason is about.",
    "Alert.events": "Events in the alert.",
    "Alert.first_at_us": "Time of its first event.",
    "Alert.last_at_us": "Time of its last event.",
    "Event.at_us": "When it happened.",
    "at_us": "Time of the event.",
    "v": "Version of the message; a reader refuses one that it does not know.",
    "tenant": "Whose data it is.",
    "event_id": "Identifier of the event, unique within the tenant.",
    "user": "The event's user; null without one.",
    "alert_id": "Identifier of the alert.",
    "ring_id": "Identifier of the ring; it lasts as long as the ring, and is never used again.",
    "schema": "Hash of the feature schema.",
    "policy": "Version of the policy; where thresholds are learned with those in force, VERSION@MEDIUM/HIGH/CRITICAL.",
    "text": "In words.",
    "level": "LOW, MEDIUM, HIGH or CRITICAL.",
    "users": "Number of members.",
    "members": "Accounts in the ring.",
    "topic": "Topic of the record.",
    "partition": "Partition of the record.",
    "offset": "Offset of the record.",
    "alert": "The alert as it is now.",
    "label": "fraud or good.",
    "target_id": "Identifier of what the label is about.",
    "target_kind": "What the label is about: event, or a kind of entity.",
    "known_at_us": "When the truth became known.",
    "type": "Type of the event, for example payment.",
    "lat": "Latitude, degrees north.",
    "lon": "Longitude, degrees east.",
    "category": "Category of what was bought.",
    "channel": "How it was done, for example web.",
    "user_agent": "Browser or app, as it named itself.",
    "order_id": "Identifier of the order.",
    "quantity": "Number of units.",
    "stock_after": "Units in stock after the event.",
    "step": "Step of a workflow, for example checkout.",
    "outcome": "How it ended.",
    "outcome_code": "Why it ended so, for example a decline code.",
    "attributes": "Further values, for rules.",
    "entity": "Identifier of the entity it is about.",
    "reason": "Code of the reason that alerts are grouped by.",
    "delivery": "now: worth looking at at once; digest: can wait for the daily list.",
    "first_event_id": "Event that founded it.",
    "top_event_id": "Event with the highest score.",
    "risk": "Ring risk as of its last mark.",
}
"""Fields that need no line in the code, and fields of the model."""
_UNITS = {"_us": "Microseconds since 1970-01-01 UTC.", "_minor": "Minor units (cents) of the tenant's currency."}


def schema(name: str) -> str:
    """The published text. Raises NotFound."""
    if name not in TOPIC_OF:
        raise NotFound(f"there is no schema {name!r}", hint=did_you_mean(name, TOPIC_OF))
    return path_of(name).read_text()


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.v1.json"


def made(name: str) -> str:
    """The schema of an outgoing message as it should be published, JSON text."""
    (top,), parts = msgspec.json.schema_components([MADE[name]], ref_template="#/$defs/{name}")
    own = parts.pop(top["$ref"].rpartition("/")[2])
    own["required"] = ["kind", "v", *(field for field in own["required"] if field not in ("kind", "v"))]
    for title, part in [(MADE[name].__name__, own), *parts.items()]:
        _describe(title, part)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ringwatch:{name}:1",
        "title": f"{name.replace('_', ' ')} message, version 1 ({TOPIC_OF[name]} topic)",
    }
    own.pop("title", None)
    whole = head | own | ({"$defs": parts} if parts else {})
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"


def _describe(struct: str, part: dict[str, Any]) -> None:
    said = _docstrings().get(struct, {})
    for field, content in part.get("properties", {}).items():
        words = said.get(field) or _SAID.get(f"{struct}.{field}") or _SAID.get(field, "")
        content["description"] = _with_unit(field, words)


def _with_unit(field: str, words: str) -> str:
    """The words, and the unit that the end of the field's name tells. Raises ValueError where nobody said anything."""
    unit = next((unit for ending, unit in _UNITS.items() if field.endswith(ending)), "")
    if not words and not unit:
        raise ValueError(f"{field} is not described")
    return words if unit[1:] in words or unit[1:13] in words else f"{words} {unit}".strip()


@cache
def _docstrings() -> dict[str, dict[str, str]]:
    """struct -> field -> the string beneath it in the code, in one line."""
    found: dict[str, dict[str, str]] = {}
    for module in (model, entry, messages):
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = dict(_fields(node))
    return found


def _fields(node: ast.ClassDef) -> list[tuple[str, str]]:
    pairs = zip(node.body, node.body[1:], strict=False)
    return [
        (field.target.id, re.sub(r"\s+", " ", str(beneath.value.value)))
        for field, beneath in pairs
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(beneath, ast.Expr)
        and isinstance(beneath.value, ast.Constant)
    ]


def main() -> None:
    for name in MADE:
        path_of(name).write_text(made(name))


if __name__ == "__main__":
    main()
