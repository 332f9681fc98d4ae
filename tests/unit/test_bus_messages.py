"""Messages: decisions there and back to the bit, keys, and what a reader refuses."""

from __future__ import annotations

from dataclasses import fields, replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.streams import stream

from bus.decisions import decision_messages, to_decisions
from bus.messages import (
    AlertMessage,
    DecisionMessage,
    LabelMessage,
    Place,
    dead_letter,
    decode,
    decode_alert,
    decode_dead_letter,
    decode_graph_row,
    encode,
    key_of,
    key_of_label,
    label_id,
)
from features.codec import FeatureCodec
from features.schema import FeatureSchema
from ledger.alerting import AlertGrouper
from ringwatch.errors import Corrupt
from ringwatch.model import HOUR_US, Alert, Event, Label, Level, Reason, Versions
from scorers.decision import Decisions

SCHEMA = FeatureSchema()
CODEC = FeatureCodec(SCHEMA)
NAMES = ("statistical", "rules", "velocity")
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


def made(seed: int, n: int, versions: Versions | None = None) -> Decisions:
    """Random decisions: any float bits in features, scores that are missing, tiny or next to 1."""
    rng = np.random.default_rng(seed)
    events = [item for item in stream(seed, n, labels=False) if isinstance(item, Event)]
    bits = rng.integers(0, 2**32, (n, SCHEMA.size), dtype=np.uint32).view(np.float32)
    features = np.array([CODEC.unpack(blob) for blob in CODEC.pack(events, bits)])
    features[:, SCHEMA.index["ring.age_s"]] = rng.choice([np.nan, 0.0, 12.5], n)
    scores = rng.choice([np.nan, 0.0, 1.0, 5e-324, np.nextafter(1, 0), rng.random()], (n, len(NAMES)))
    level = rng.integers(0, 4, n).astype(np.uint8)
    words = [(), ("velocity",), ("card_testing", "velocity")]
    return Decisions(
        events=events,
        seq=np.arange(5, 5 + n),
        features=features,
        schema=SCHEMA,
        scorer_names=NAMES,
        scores=scores,
        score=rng.choice([0.0, 1.0, 1e-300, rng.random()], n),
        level=level,
        action=rng.integers(0, 4, n).astype(np.uint8),
        reasons=[(Reason("a.b", "über 9000 \"'\n", rng.random(), "device", "d1"),) if x > 1 else () for x in level],
        versions=[versions or Versions(SCHEMA.hash, dict.fromkeys(NAMES, "1"), "p1")] * n,
        timing_us={"state": 12.5, "rings": 3.25},
        degraded=[("no_fx",) if x == 2 else () for x in level],
        patterns=[words[x] for x in rng.integers(0, 3, n)],
        ring_ids=[None if x else "r1" for x in rng.integers(0, 2, n)],
        accounts=[("u1", "u2") if x else () for x in rng.integers(0, 2, n)],
        embedding_age_s=[None if x else 0.25 for x in rng.integers(0, 2, n)],
        links=[rng.bytes(x) for x in rng.integers(0, 3, n)],
        hoods=[rng.bytes(x) for x in rng.integers(0, 3, n)],
    )


def decoded(decisions: Decisions) -> list[DecisionMessage]:
    raw = decision_messages(decisions, [f"t/0/{n}" for n in range(len(decisions))], [77] * len(decisions), CODEC)
    return [m for m in map(decode, raw) if isinstance(m, DecisionMessage)]


def assert_same(found: Decisions, meant: Decisions) -> None:
    for field in fields(Decisions):
        a, b = getattr(found, field.name), getattr(meant, field.name)
        if isinstance(b, np.ndarray):
            assert a.dtype == b.dtype, field.name
            assert a.shape == b.shape, field.name
            same = (
                a.view(np.uint8) == b.view(np.uint8)
                if field.name == "features"
                else np.array_equal(a, b, equal_nan=True)
            )
            assert np.all(same), field.name
        elif field.name == "schema":
            assert a is b
        elif field.name == "timing_us":
            assert a == pytest.approx(b)
        else:
            assert (a if isinstance(a, dict | Versions) else list(a)) == (
                b if isinstance(b, dict | Versions) else list(b)
            ), field.name


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_decisions_come_back_to_the_bit(seed: int, n: int) -> None:
    meant = made(seed, n)
    (found,) = to_decisions(decoded(meant), CODEC, meant.seq)
    assert_same(found, meant)


def test_they_group_into_the_same_alerts() -> None:
    meant = made(3, 200)
    (found,) = to_decisions(decoded(meant), CODEC, meant.seq)
    assert AlertGrouper(24 * HOUR_US).add(found) == AlertGrouper(24 * HOUR_US).add(meant)


def test_other_versions_begin_another_piece() -> None:
    ones = made(1, 3)
    other = made(2, 2, Versions(SCHEMA.hash, dict.fromkeys(NAMES, "2"), "p1"))
    messages = decoded(ones) + decoded(other) + decoded(ones)
    pieces = to_decisions(messages, CODEC, np.arange(8))
    assert [len(p) for p in pieces] == [3, 2, 3]
    assert [p.seq.tolist() for p in pieces] == [[0, 1, 2], [3, 4], [5, 6, 7]]
    assert [{v.scorers["rules"] for v in p.versions} for p in pieces] == [{"1"}, {"2"}, {"1"}]

    fewer = replace(ones, scorer_names=NAMES[:2], scores=ones.scores[:, :2])
    assert [p.scorer_names for p in to_decisions(decoded(fewer) + decoded(ones), CODEC, np.arange(6))] == [
        NAMES[:2],
        NAMES,
    ]
    assert to_decisions([], CODEC, np.arange(0)) == []


def test_thresholds_that_differ_stay_with_their_events() -> None:
    meant = made(1, 6)
    other = msgspec.structs.replace(meant.versions[0], policy="p1@0.4/0.6/0.85")
    meant = replace(meant, versions=[meant.versions[0], other, other, meant.versions[0], other, meant.versions[0]])
    (found,) = to_decisions(decoded(meant), CODEC, np.arange(6))
    assert found.versions == meant.versions
    assert [found.assessment(i).versions for i in range(6)] == list(meant.versions)
    both = Decisions.concatenate([found.select(0, 2), found.select(2, 6)])
    assert both.versions == meant.versions


def test_a_message_says_what_a_consumer_needs() -> None:
    meant = made(9, 5)
    for row, message in enumerate(decoded(meant)):
        a = meant.assessment(row)
        assert (message.score, message.level, message.action) == (a.score, a.level, a.action)
        assert message.scores == a.scores
        assert (message.user, message.ring, message.ring_age_s) == (a.user, a.ring, a.ring_age_s)
        assert message.embedding_age_s == a.embedding_age_s
        assert (message.timing_us, message.versions) == (a.timing_us, a.versions)
        assert (message.origin, message.decided_us) == (f"t/0/{row}", 77)


def test_the_graph_reads_a_part_of_it() -> None:
    meant = made(9, 5)
    for row, raw in enumerate(decision_messages(meant, ["http"] * 5, [1] * 5, CODEC)):
        found = decode_graph_row(raw)
        assert found is not None
        assert (found.event, found.level) == (meant.events[row], Level(int(meant.level[row])).name)
    label = LabelMessage(
        v=1, id="x", label=Label("event", "e", "fraud", 5), entities={"user": "u"}, origin="o", decided_us=1
    )
    assert decode_graph_row(encode(label)) is None
    assert decode(encode(label)) == label


def test_features_of_another_schema_or_size_are_refused() -> None:
    (message,) = decoded(made(1, 1))
    other = msgspec.structs.replace(message.versions, schema="0123456789abcdef")
    with pytest.raises(Corrupt, match="feature schema 0123456789abcdef, this process has"):
        to_decisions([msgspec.structs.replace(message, versions=other)], CODEC, np.arange(1))
    for blob in (message.features[:-4], message.features[:-1], b"", message.features + b"1234"):
        with pytest.raises(Corrupt, match="cannot be unpacked"):
            to_decisions([msgspec.structs.replace(message, features=blob)], CODEC, np.arange(1))


def changed(**more: object) -> bytes:
    (raw,) = decision_messages(made(1, 1), ["o"], [1], CODEC)
    return msgspec.json.encode(msgspec.json.decode(raw) | more)


def test_decisions_of_before_graph_networks_are_read() -> None:
    (raw,) = decision_messages(made(1, 1), ["o"], [1], CODEC)
    older = msgspec.json.decode(raw)
    del older["embedding_age_s"]
    found = decode(msgspec.json.encode(older))
    assert isinstance(found, DecisionMessage)
    assert found.embedding_age_s is None


def test_what_is_not_kept_takes_no_room() -> None:
    (raw,) = decision_messages(replace(made(1, 1), links=(), hoods=()), ["o"], [1], CODEC)
    assert not {"links", "hood"} & msgspec.json.decode(raw).keys()
    found = decode(raw)
    assert isinstance(found, DecisionMessage)
    assert to_decisions([found], CODEC, np.zeros(1, np.int64))[0].links == [b""]


def test_unknown_fields_are_ignored() -> None:
    found = decode(changed(something_new={"a": [1]}))
    assert isinstance(found, DecisionMessage)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "is not an envelope"),
        (b"[1]", "is not an envelope"),
        (b"\xff\xfe", "is not an envelope"),
        (b'{"kind": "decision"', "is not an envelope"),
        (b"[" * 100_000, "is not an envelope"),
        (changed(v=2), "the 'decision' message has version 2, this program reads version 1"),
        (changed(v="1"), "is not an envelope"),
        (changed(kind="alert"), "cannot be read: Invalid value 'alert'"),
        (b'{"v": 1}', "missing required field `kind`"),
        (b'{"kind": "decision"}', "missing required field `v`"),
        (changed(score=1.5), "cannot be read"),
        (changed(score=None), "cannot be read"),
        (changed(level="SEVERE"), "Invalid enum value 'SEVERE'"),
        (changed(features="not base64!"), "Invalid base64"),
        (changed(event={"event_id": "e"}), "missing required field `type`"),
    ],
    ids=range(15),
)
def test_what_cannot_be_read_is_told_in_words(raw: bytes, told: str) -> None:
    for reading in (decode, decode_graph_row):
        if reading is decode_graph_row and (b"1.5" in raw or b'"score":null' in raw or b"base64!" in raw):
            continue
        with pytest.raises(Corrupt, match=told):
            reading(raw)


def test_an_alert_comes_back() -> None:
    alert = Alert("a", "t", "ring", "r", "x", 1, 2, 3, 0.5, "HIGH", "now", "why", ring="r")
    message = AlertMessage(
        v=1, tenant="t", alert_id="a", new=True, event_ids=("e",), alert=alert, query="MATCH", updated_us=9
    )
    assert decode_alert(encode(message)) == message
    with pytest.raises(Corrupt, match="version 7"):
        decode_alert(encode(message).replace(b'"v":1', b'"v":7'))


@given(st.binary(max_size=60))
def test_a_dead_letter_holds_the_bytes(raw: bytes) -> None:
    letter = decode_dead_letter(encode(dead_letter("t", "invalid", "why", Place("x.events", 3, 9), 5, raw)))
    found = letter.raw.encode() if letter.raw is not None else letter.raw_base64
    assert found == raw
    assert str(letter.source) == "x.events/3/9"


# -- keys


@pytest.mark.parametrize(
    ("entities", "key"),
    [
        ({"card": "c", "user": "u", "session": "s"}, b"t/u"),
        ({"sku": "k", "card": "c", "session": "s"}, b"t/s"),
        ({"sku": "k", "device": "d", "card": "c"}, b"t/c"),
        ({"sku": "k", "device": "d", "ip": "i"}, b"t/d"),
        ({"merchant": "m", "sku": "k"}, b"t/k"),
        ({"merchant": "m"}, b"t/e1"),
        ({}, b"t/e1"),
    ],
)
def test_an_event_and_its_label_have_the_same_key(entities: dict[str, str], key: bytes) -> None:
    assert key_of(Event("e1", "payment", 1, entities, tenant="t")) == key
    assert key_of_label(Label("event", "e1", "fraud", 2, tenant="t"), entities) == key


@given(WORDS, WORDS, WORDS)
def test_tenants_do_not_share_keys(tenant: str, other: str, user: str) -> None:
    one, two = (key_of(Event("e", "login", 1, {"user": user}, tenant=t.replace("/", ""))) for t in (tenant, other))
    assert (one == two) == (tenant.replace("/", "") == other.replace("/", ""))


def test_a_label_has_an_id_of_its_content() -> None:
    label = Label("event", "e1", "fraud", 2)
    assert label_id(label) == label_id(Label("event", "e1", "fraud", 2))
    others = [
        Label("user", "e1", "fraud", 2), Label("event", "e2", "fraud", 2), Label("event", "e1", "good", 2),
        Label("event", "e1", "fraud", 3), Label("event", "e1", "fraud", 2, "t"),
    ]  # fmt: skip
    assert len({label_id(x) for x in (label, *others)}) == 6
