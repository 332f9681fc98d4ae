"""The published JSON Schemas say what the code says: of what goes out, and of what comes in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from support.streams import stream

from bus import schema
from bus.decisions import decision_messages
from bus.messages import AlertMessage, FeaturesMessage, LabelMessage, Place, RingMessage, dead_letter, encode
from features.codec import FeatureCodec
from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.currency import RateTable
from ingest.events import _KNOWN, _LABEL_FIELDS, EventDecoder, EventRules
from ingest.simulate.simulate import SimulationConfig, write_simulation
from ingest.stream import ScoringStream
from ledger.alerting import AlertGrouper
from ringwatch.errors import BadInput, NotFound
from ringwatch.model import HOUR_US, Event, Label, type_names
from scorers.assess import Assessor
from scorers.decision import Decisions
from scorers.policy import Policy, TenantPolicy
from scorers.registry import build_scorers

SCHEMA = FeatureSchema()
EAGER = Policy(TenantPolicy(levels={"MEDIUM": 0.05, "HIGH": 0.2, "CRITICAL": 0.6}))
EVENT = {"event_id": "e1", "type": "payment", "at": "2026-05-01T12:00:00Z"}
LABEL = {"type": "label", "label_of": {"event": "e1"}, "label": "fraud", "known_at": "2026-05-03T00:00:00Z"}


def validator(name: str) -> Draft202012Validator:
    content = msgspec.json.decode(schema.schema(name))
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    scoring = ScoringStream(MemoryState(SCHEMA, max_entities=5000), Assessor(build_scorers(), EAGER, SCHEMA))
    return scoring.feed(list(enumerate(stream(11, 300))))


# -- what goes out


@pytest.mark.parametrize("name", schema.MADE)
def test_schemas_are_up_to_date(name: str) -> None:
    assert schema.schema(name) == schema.made(name), "run python -m bus.schema"


def test_every_schema_is_named_and_every_field_described() -> None:
    assert {p.name for p in schema.FOLDER.iterdir()} == {f"{name}.v1.json" for name in schema.TOPIC_OF}
    assert {*schema.MADE, *schema.WRITTEN} == set(schema.TOPIC_OF)
    for name in schema.TOPIC_OF:
        content = msgspec.json.decode(schema.schema(name))
        for part in (content, *content.get("$defs", {}).values()):
            for field, said in part.get("properties", {}).items():
                assert said.get("description"), f"{name}: {field}"
    with pytest.raises(NotFound, match=r"no schema 'decisions' \(did you mean 'decision'"):
        schema.schema("decisions")


def test_decisions_are_as_published(decisions: Decisions) -> None:
    valid = validator("decision")
    for raw in decision_messages(
        decisions, ["fraud.events/0/1"] * len(decisions), range(len(decisions)), FeatureCodec(SCHEMA)
    ):
        valid.validate(msgspec.json.decode(raw))


def test_everything_else_is_as_published(decisions: Decisions) -> None:
    alerts, _ = AlertGrouper(24 * HOUR_US).add(decisions)
    assert alerts
    sent: list[tuple[str, Any]] = [
        ("alert", AlertMessage(v=1, tenant=a.tenant, alert_id=a.alert_id, new=True, event_ids=("e",), alert=a, query="MATCH", updated_us=1))
        for a in alerts
    ]  # fmt: skip
    label = Label("event", "e1", "good", 5)
    sent += [
        ("label", LabelMessage(v=1, id="x", label=label, entities={"user": "u"}, origin="http", decided_us=1)),
        ("features", FeaturesMessage(v=1, tenant="t", event_id="e", at_us=1, schema="s", values={"user.count_1h": 1.0})),
        ("dead_letter", dead_letter("t", "invalid", "why", Place("fraud.events", 1, 2), 3, b"{")),
        ("dead_letter", dead_letter("t", "encoding", "why", Place("fraud.events", 1, 2), 3, b"\xff")),
        ("ring", RingMessage(v=1, tenant="t", ring_id="r", status="active", risk=0.5, users=2, first_us=1, last_us=2,
                             members=("a", "b"), shared=(("device", "d"),), content=b"\x00", updated_us=3)),
    ]  # fmt: skip
    for name, message in sent:
        validator(name).validate(msgspec.json.decode(encode(message)))


# -- what comes in


def takes(fields: Any, decoder: EventDecoder) -> bool:
    try:
        decoder.decode(msgspec.json.encode(fields))
    except BadInput:
        return False
    return True


@pytest.fixture(scope="module")
def decoder() -> EventDecoder:
    return EventDecoder(EventRules(), RateTable("EUR", {}))


def test_the_written_schemas_name_the_decoders_fields() -> None:
    event = msgspec.json.decode(schema.schema("event_in"))
    assert set(event["properties"]) == set(_KNOWN) - (_LABEL_FIELDS - {"type", "tenant"})
    assert tuple(event["properties"]["type"]["enum"]) == type_names
    assert set(msgspec.json.decode(schema.schema("label_in"))["properties"]) == set(_LABEL_FIELDS)


def test_what_the_simulator_writes_is_valid_and_taken(tmp_path: Path, decoder: EventDecoder) -> None:
    write_simulation(SimulationConfig(events=3000, seed=5), tmp_path)
    event, label = validator("event_in"), validator("label_in")
    seen: set[str] = set()
    for line in (tmp_path / "events.jsonl").read_bytes().splitlines():
        fields = msgspec.json.decode(line)
        (label if fields["type"] == "label" else event).validate(fields)
        assert isinstance(decoder.decode(line), Label if fields["type"] == "label" else Event)
        seen.add(fields["type"])
    assert "label" in seen
    assert len(seen) > 8


GOOD: list[dict[str, Any]] = [
    {},
    {"amount": 19.9},
    {"amount": "19.90", "currency": "EUR"},
    {"amount": " 1e3 "},
    {"amount": 0},
    {"amount_minor": 1990},
    {"amount_minor": 1990.0},
    {"amount": None, "amount_minor": 5},
    {"user": 17, "device": "d", "card": None},
    {"user": "ü" * 256},
    {"entities": {"user": "u", "promo": 5, "card": None}},
    {"country": "de", "lat": 52.5, "lon": 13},
    {"lat": None, "lon": None},
    {"quantity": -3, "unit_price_minor": 2**53, "stock_after": None},
    {"user_agent": "x" * 1024, "order_id": 12},
    {"attributes": {"a": "", "b": True, "c": 1.5, "d": None, "e": -(2**53), "f": "two\nlines"}},
    {"attributes": {f"a{n}": n for n in range(64)}},
    {"outcome": None, "tenant": "default"},
    {"at": "2026-05-01 12:00:00.123456+02:00"},
    {"at": "20260501T120000Z"},
]
BAD: list[dict[str, Any]] = [
    {"event_id": None},
    {"event_id": ""},
    {"event_id": "x" * 257},
    {"event_id": 2**63},
    {"event_id": 1.5},
    {"type": "purchase"},
    {"type": None},
    {"at": "yesterday"},
    {"at": 1700000000},
    {"at": None},
    {"usr": "u"},
    {"user": ""},
    {"user": True},
    {"user": ["u"]},
    {"user": {"id": "u"}},
    {"card": "x" * 257},
    {"entities": ["u"]},
    {"entities": {"user": ""}},
    {"entities": {"user": 1.5}},
    {"amount": -1},
    {"amount": "-1"},
    {"amount": "1,50"},
    {"amount": "1_000"},
    {"amount": ""},
    {"amount": True},
    {"amount": 2**54},
    {"amount": 1, "amount_minor": 100},
    {"amount_minor": 1.5},
    {"amount_minor": -1},
    {"amount_minor": "100"},
    {"currency": "eur"},
    {"currency": "EURO"},
    {"currency": 978},
    {"lat": 91, "lon": 0},
    {"lat": 52.5},
    {"lon": 13.0},
    {"lat": "52.5", "lon": "13"},
    {"country": "DEU"},
    {"country": "D1"},
    {"category": ""},
    {"category": "x" * 1025},
    {"step": 1.5},
    {"quantity": 1.5},
    {"quantity": "3"},
    {"quantity": 2**53 + 1},
    {"stock_after": True},
    {"outcome": "ok"},
    {"attributes": [1]},
    {"attributes": {"a": [1]}},
    {"attributes": {"a": {}}},
    {"attributes": {"": 1}},
    {"attributes": {"x" * 65: 1}},
    {"attributes": {"a": "x" * 1025}},
    {"attributes": {"a": 2**53 + 1}},
    {"attributes": {f"a{n}": n for n in range(65)}},
    {"tenant": 5},
    {"label": "fraud"},
    {"label": None},
    {"label_of": {"event": "e"}},
    {"known_at": "2026-05-03T00:00:00Z"},
]
BAD_LABELS: list[dict[str, Any]] = [
    {"label": "maybe"},
    {"label": None},
    {"label_of": "e1"},
    {"label_of": {}},
    {"label_of": {"event": ""}},
    {"label_of": {"event": None}},
    {"label_of": {"event": "e", "kind": "user"}},
    {"label_of": {"kind": "user"}},
    {"label_of": {"kind": 5, "id": "u"}},
    {"label_of": {"kind": "user", "id": ["u"]}},
    {"known_at": "soon"},
    {"known_at": None},
    {"user": "u"},
    {"tenant": 5},
]


@pytest.mark.parametrize("more", GOOD, ids=repr)
def test_both_take_these_events(more: dict[str, Any], decoder: EventDecoder) -> None:
    assert [e.message for e in validator("event_in").iter_errors(EVENT | more)] == []
    assert takes(EVENT | more, decoder)


@pytest.mark.parametrize("more", BAD, ids=lambda more: repr(more)[:60])
def test_both_refuse_these_events(more: dict[str, Any], decoder: EventDecoder) -> None:
    assert not takes(EVENT | more, decoder)
    assert not validator("event_in").is_valid(EVENT | more)


@pytest.mark.parametrize("missing", EVENT)
def test_both_need_these_fields(missing: str, decoder: EventDecoder) -> None:
    fields = {name: value for name, value in EVENT.items() if name != missing}
    assert not takes(fields, decoder)
    assert not validator("event_in").is_valid(fields)


@pytest.mark.parametrize(
    "more", [{}, {"label": "good"}, {"label_of": {"kind": "user", "id": 5}}, {"tenant": None}], ids=repr
)
def test_both_take_these_labels(more: dict[str, Any], decoder: EventDecoder) -> None:
    validator("label_in").validate(LABEL | more)
    assert takes(LABEL | more, decoder)


@pytest.mark.parametrize("more", BAD_LABELS, ids=repr)
def test_both_refuse_these_labels(more: dict[str, Any], decoder: EventDecoder) -> None:
    assert not takes(LABEL | more, decoder)
    assert not validator("label_in").is_valid(LABEL | more)


def test_the_document_names_every_schema_and_topic() -> None:
    page = (Path(__file__).parents[2] / "docs" / "kafka.md").read_text()
    assert {name for name in schema.TOPIC_OF if not re.search(rf"`{name}`", page)} == set()
    assert {kind for kind in schema.TOPIC_OF.values() if f"fraud.{kind}" not in page} == set()
