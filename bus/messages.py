"""What travels on the topics: versioned JSON envelopes, and the keys that choose a partition.

Every message has `kind` and `v`. Within a version fields are only added, and readers ignore those they do not know; a
change of meaning is a new version, which an older reader refuses. The JSON Schemas in `bus/schemas/` are made from here
and are what consumers outside of Ringwatch read against.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Literal, TypeVar

import msgspec

from rings.entry import RingEntry
from ringwatch.errors import Corrupt
from ringwatch.model import Alert, Event, Label, Reason, Versions

LevelName = Literal["LOW", "MEDIUM", "HIGH", "CRITICAL"]
ActionName = Literal["allow", "review", "challenge", "block"]
Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
KEY_ORDER = ("user", "session", "card", "device", "sku")
"""Kinds in the order in which an event is looked at for its key."""
_T = TypeVar("_T")


class DecisionMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="decision"):
    """One scored event with all that was decided about it, and the event itself. On the decisions topic."""

    v: Literal[1]
    tenant: str
    event_id: str
    at_us: int
    user: str | None
    score: Probability
    """Probability of fraud, calibrated where labels exist."""
    level: LevelName
    action: ActionName
    """What the policy advises to do with the event."""
    scores: dict[str, float | None]
    """Score of each scorer in [0, 1], in the order they ran; null where it abstained."""
    reasons: tuple[Reason, ...]
    """Why, the weightiest first; empty for a low score."""
    patterns: tuple[str, ...]
    """Fraud patterns at or over their own alert threshold, strongest first."""
    ring: str | None
    """The ring of the event's user as of the event."""
    ring_age_s: float | None
    """Seconds before the event at which the ring data was last settled."""
    embedding_age_s: float | None = None
    """Seconds before the event of the oldest embedding that a model's graph network was asked with; null where none was."""
    accounts: tuple[str, ...]
    """Accounts concerned, for an event with patterns."""
    degraded: tuple[str, ...]
    """What was missing when this was decided, for example "no_fx"; empty is good."""
    versions: Versions
    """What made the decision: all that must be the same for a replay to give the same number."""
    timing_us: dict[str, float]
    """Microseconds each stage took, the event's share of its batch."""
    event: Event
    """The event after its checks: identifiers as tokens where configured, amounts in the tenant's currency."""
    links: bytes | msgspec.UnsetType = msgspec.UNSET
    """Links of the event's entities that its features were read from, packed (`features/seen.py`); not there for most events without
    an alert."""
    hood: bytes | msgspec.UnsetType = msgspec.UNSET
    """What the champion's graph network saw of the event, packed (`gnn/kept.py`); there as `links` are, where one was asked."""
    features: bytes
    """The feature vector, packed: a 16-bit mask of entity kinds, then float32, both little-endian (`features/codec.py`)."""
    origin: str
    """Where the event came from: `topic/partition/offset`, or `http`."""
    decided_us: int
    """When it was decided, by the wall clock; of the messages of one process it rises in the order in which they were decided."""


class LabelMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="label"):
    """A label that was taken, with the entities it is about. On the decisions topic, in order with the decisions."""

    v: Literal[1]
    id: str
    """The same for the same label sent again."""
    label: Label
    """The label as it was taken."""
    entities: dict[str, str]
    """kind -> id of what the label counts for: the entities of its event, or the entity it names."""
    origin: str
    """Where the label came from: `topic/partition/offset`, or `http`."""
    decided_us: int
    """When it was taken, by the wall clock."""


class AlertMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="alert"):
    """A new or changed alert, whole: the later message of an `alert_id` replaces the earlier. On the alerts topic."""

    v: Literal[1]
    tenant: str
    alert_id: str
    new: bool
    """True in the first message of the alert."""
    event_ids: tuple[str, ...]
    """Events that joined with this message; `alert.events` counts all of them."""
    alert: Alert
    query: str
    """Cypher that opens the alert's picture in Neo4j Browser."""
    url: str | None = None
    """The alert in the web console, where its address is configured."""
    updated_us: int
    """When it changed, by the wall clock."""


class FeaturesMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="features"):
    """The named feature values of one scored event. On the features topic, for training and monitoring."""

    v: Literal[1]
    tenant: str
    event_id: str
    at_us: int
    schema: str
    """Hash of the feature schema the names belong to."""
    values: dict[str, float]
    """name -> value; a feature that is not here is missing."""


class Place(msgspec.Struct, frozen=True):
    """A record of a topic."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="dead_letter"):
    """A record that could not be taken, with the reason, the place and the bytes. On the dlq topic."""

    v: Literal[1]
    tenant: str
    code: str
    """Machine-readable: invalid, card_number, time, encoding, too_long, conflict, unknown_event, ..."""
    reason: str
    """One line that names the field, the value and what is accepted."""
    source: Place
    """Where the record stands."""
    at_us: int
    """When it was refused, by the wall clock."""
    raw: str | None = None
    """The record as text, cut at the dead-letter limit, card numbers masked."""
    raw_base64: bytes | None = None
    """The same where it is not UTF-8."""


class RingMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="ring"):
    """A ring as it is now; the later message of a `ring_id` replaces the earlier. On the rings topic, compacted."""

    v: Literal[1]
    tenant: str
    ring_id: str
    status: str
    """active, or ended: a ring that ended is told once more, without members."""
    risk: Probability
    users: int
    """Members; at least as many as are listed."""
    first_us: int
    """Time of the founding event."""
    last_us: int
    """Time of the last event of a member on a shared entity."""
    members: tuple[str, ...]
    shared: tuple[tuple[str, str], ...]
    """(kind, id) of the entities that hold it together."""
    content: bytes = b""
    """The ring keeper's own record."""
    history: tuple[RingEntry, ...] = ()
    """What happened to it since it was told last, in order. A message told again brings entries again, with the same numbers."""
    updated_us: int
    """When it changed, by the wall clock."""


class Foreign(Corrupt):
    """A record that no version of Ringwatch has written."""


Message = DecisionMessage | LabelMessage | AlertMessage | FeaturesMessage | DeadLetter | RingMessage


class GraphRow(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="decision"):
    """What a graph writer reads of a decision; the rest is skipped without being decoded."""

    v: Literal[1]
    level: LevelName
    event: Event


class _LabelRow(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="label"):
    v: Literal[1]


class _Envelope(msgspec.Struct):
    kind: str | None = None
    v: int | None = None


_encode = msgspec.json.Encoder().encode
_decision: msgspec.json.Decoder[DecisionMessage | LabelMessage] = msgspec.json.Decoder(DecisionMessage | LabelMessage)
_graph_row: msgspec.json.Decoder[GraphRow | _LabelRow] = msgspec.json.Decoder(GraphRow | _LabelRow)
_alert = msgspec.json.Decoder(AlertMessage)
_features = msgspec.json.Decoder(FeaturesMessage)
_dead_letter = msgspec.json.Decoder(DeadLetter)
_ring = msgspec.json.Decoder(RingMessage)
_envelope = msgspec.json.Decoder(_Envelope)


def encode(message: Message) -> bytes:
    return _encode(message)


def decode(raw: bytes) -> DecisionMessage | LabelMessage:
    """A message of the decisions topic. Raises Corrupt."""
    return _read(_decision, raw)


def decode_graph_row(raw: bytes) -> GraphRow | None:
    """As `decode`, only what the graph needs; None for a label. Raises Corrupt."""
    row = _read(_graph_row, raw)
    return row if isinstance(row, GraphRow) else None


def decode_alert(raw: bytes) -> AlertMessage:
    """Raises Corrupt, as all of these."""
    return _read(_alert, raw)


def decode_features(raw: bytes) -> FeaturesMessage:
    return _read(_features, raw)


def decode_dead_letter(raw: bytes) -> DeadLetter:
    return _read(_dead_letter, raw)


def decode_ring(raw: bytes) -> RingMessage:
    return _read(_ring, raw)


def _read(decoder: msgspec.json.Decoder[_T], raw: bytes) -> _T:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(raw, error) from None


def _unreadable(raw: bytes, error: Exception) -> Corrupt:
    """`Foreign`, but for another version. The version, where that is why; else what the decoder says and where."""
    try:
        envelope = _envelope.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Foreign(f"the message is not an envelope of Ringwatch: {error}", hint="who else writes to the topic?")
    if envelope.kind is not None and envelope.v is not None and envelope.v != 1:
        return Corrupt(
            f"the {envelope.kind[:40]!r} message has version {envelope.v}, this program reads version 1",
            hint="run the version of Ringwatch that wrote it, or a newer one",
        )
    return Foreign(f"the message cannot be read: {error}", hint="`ringwatch topics schema` prints what is expected")


def dead_letter(tenant: str, code: str, reason: str, source: Place, at_us: int, raw: bytes) -> DeadLetter:
    """`raw` as text where it is UTF-8, else as base64. The caller has cut it and masked card numbers."""
    try:
        text, octets = raw.decode(), None
    except UnicodeDecodeError:
        text, octets = None, raw
    return DeadLetter(
        v=1, tenant=tenant, code=code, reason=reason, source=source, at_us=at_us, raw=text, raw_base64=octets
    )


def key_of(event: Event) -> bytes:
    """Events with the same key meet in one partition: tenant and user, or the first present of session, card, device, sku,
    else the event id."""
    return _key(event.tenant, event.entities, event.event_id)


def key_of_label(label: Label, entities: Mapping[str, str]) -> bytes:
    """The key of the events a label is about, from its resolved entities; without any, that of its target."""
    return _key(label.tenant, entities, label.target_id)


def _key(tenant: str, entities: Mapping[str, str], otherwise: str) -> bytes:
    """`tenant/id`; a tenant's name has no slash."""
    for kind in KEY_ORDER:
        if (found := entities.get(kind)) is not None:
            return f"{tenant}/{found}".encode()
    return f"{tenant}/{otherwise}".encode()


def label_id(label: Label) -> str:
    """24 hex digits, the same for an equal label."""
    parts = (label.tenant, label.target_kind, label.target_id, label.label, str(label.known_at_us))
    return blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()
