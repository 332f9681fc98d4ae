"""Bytes or fields -> Event or Label: the one place where what comes from outside is checked.

Every refusal is a BadInput that names the field, the value and what is accepted; a card number is never echoed.
All texts of an event are first looked at together; only when something may be wrong is each looked at alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from ingest.card_numbers import may_hold_card_number
from ingest.currency import RateTable, float_to_minor, is_currency, to_minor
from ingest.values import (
    MAX_ATTRIBUTES,
    MAX_ID,
    MAX_INT,
    MAX_TEXT,
    Secret,
    check_country,
    check_decimal,
    check_integer,
    check_number,
    check_scalar,
    check_span,
    check_text,
    check_time,
    refuse,
    show,
    time_text,
)
from ringwatch.errors import BadInput, did_you_mean
from ringwatch.model import BUILTIN_KINDS, DAY_US, TYPE_CODES, Event, Kind, Label

OUTCOMES = ("approved", "declined", "success", "failed")
TEXT_FIELDS = ("category", "channel", "user_agent", "order_id", "step", "outcome_code")
INTEGER_FIELDS = ("quantity", "unit_price_minor", "stock_after")
_OTHER = ("event_id", "type", "at", "tenant", "entities", "amount", "amount_minor", "currency", "lat", "lon", "country",
          "outcome", "attributes", "label_of", "label", "known_at")  # fmt: skip
_LABEL_FIELDS = frozenset(("type", "tenant", "label_of", "label", "known_at"))
_BUILTIN = tuple(kind.name for kind in BUILTIN_KINDS)
_TEXT, _ENTITY, _INTEGER = 1, 2, 3
_GROUPS = {
    **dict.fromkeys(_OTHER, 0),
    **dict.fromkeys(TEXT_FIELDS, _TEXT),
    **dict.fromkeys(_BUILTIN, _ENTITY),
    **dict.fromkeys(INTEGER_FIELDS, _INTEGER),
}
_KNOWN = frozenset(_GROUPS)
_OF_LABELS = frozenset(("label_of", "label", "known_at"))
_EVENT_FIELDS = _KNOWN - _OF_LABELS
_JSON = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class EventRules:
    """How records of one tenant are read."""

    tenant: str = "default"
    currency: str = "EUR"
    naive_times: str = "refuse"
    """"refuse", or "utc": read a time without a zone as UTC."""
    token_key: bytes | None = None
    """Key that turns entity identifiers into tokens; None keeps them as they are. Event ids are never turned."""
    token_kinds: frozenset[str] | None = None
    """Kinds whose identifiers it turns; None: all. What a mapping says is a token becomes one whatever its kind."""
    kinds: tuple[Kind, ...] = BUILTIN_KINDS


class TimeGuard:
    """Refuses times that jump far past the newest time before them: in a file such a time is a mistake.

    `start_us` is where the file begins, if known: then one wild first record is refused instead of the rest of the file.
    Every time within the limit counts, also of a record refused for something else, so that the guard's state after a
    record follows from the times alone.
    """

    def __init__(self, future_jump_us: int, *, start_us: int | None = None) -> None:
        self._jump_us = future_jump_us
        self._newest_us = start_us

    def check(self, at_us: int) -> None:
        """Raises BadInput(code="time")."""
        newest = self._newest_us
        if newest is None or newest < at_us <= newest + self._jump_us:
            self._newest_us = at_us
        elif at_us > newest:
            raise BadInput(
                f"at is {time_text(at_us)}, {(at_us - newest) / DAY_US:.0f} days past the newest before it",
                hint=f"at most {self._jump_us / DAY_US:.0f} days are accepted: RINGWATCH_FUTURE_JUMP_DAYS",
                field="at",
                code="time",
            )


class EventDecoder:
    """Checks and normalises. Stateless after construction; not tied to a source."""

    def __init__(self, rules: EventRules, rates: RateTable) -> None:
        if rates.base != rules.currency:
            raise BadInput(f"rates are in {rates.base}, the tenant's currency is {rules.currency}", hint="use one")
        self.rules = rules
        self._rates = rates
        self._key = None if not rules.token_key else blake2b(rules.token_key, digest_size=64).digest()
        self._kinds = tuple(kind.name for kind in rules.kinds)

    def decode(self, raw: bytes) -> Event | Label:
        """One native JSON object. Raises BadInput."""
        return self.from_fields(self.parse(raw))

    def parse(self, raw: bytes) -> dict[str, Any]:
        """A JSON object to its fields, not checked yet. Raises BadInput."""
        try:
            return _JSON.decode(raw)
        except UnicodeDecodeError as error:
            raise BadInput(f"byte {error.start + 1} is not UTF-8", hint="write UTF-8", code="encoding") from None
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            code = "encoding" if "utf-8" in str(error).lower() else "invalid"
            listed = raw.lstrip()[:1] == b"["
            hint = "one JSON object a line is needed" + (
                ", not a list: `jq -c .[] FILE` writes them so" if listed else ""
            )
            raise BadInput(f"not a JSON object: {error}", hint=hint, code=code) from None

    def time_of(self, fields: Mapping[str, Any]) -> int | None:
        """The event's time in microseconds; None for a label. Raises BadInput."""
        if fields.get("type") == "label":
            return None
        return check_time(fields.get("at"), "at", self.rules.naive_times)

    def from_fields(self, fields: Mapping[str, Any], at_us: int | None = None) -> Event | Label:
        """An event or label from named fields, as in the native format; None means absent. Raises BadInput.

        `at_us` is the event's time where it has been read already; `at` is then not looked at.
        """
        if at_us is None and fields.get("type") == "label":
            return self._label(fields)
        if not fields.keys() <= _EVENT_FIELDS:
            raise _not_of_events(fields)
        return self._event(fields, at_us)

    def _event(self, fields: Mapping[str, Any], at_us: int | None) -> Event:
        get = fields.get
        kind = get("type")
        if type(kind) is not str or kind not in TYPE_CODES:
            raise _unknown_type(kind)
        at_us = check_time(get("at"), "at", self.rules.naive_times) if at_us is None else check_span(at_us, "at")
        texts: dict[str, Any] = {"event_id": get("event_id")}
        entities: dict[str, Any] = {}
        integers: dict[str, int] = {}
        for name, value in fields.items():
            group = _GROUPS[name]
            if group == 0 or value is None:
                continue
            if group == _TEXT:
                texts[name] = value
            elif group == _ENTITY:
                entities[name] = value
            else:
                integers[name] = check_integer(value, name)
        secrets: set[str] = set()
        if (declared := get("entities")) is not None:
            secrets = self._add_declared(entities, declared)
        if len(entities) > 1:
            entities = {name: entities[name] for name in self._kinds if name in entities}
        if not _clean(texts, entities):
            texts = {name: check_text(v, name, MAX_ID if name == "event_id" else MAX_TEXT) for name, v in texts.items()}
            entities = {name: check_text(value, name) for name, value in entities.items()}
        if self._key is not None:
            entities = {k: value if k in secrets else self.token(k, value) for k, value in entities.items()}
        more: dict[str, Any] = texts
        if integers:
            more.update(integers)
        if (value := get("attributes")) is not None:
            more["attributes"] = _attributes(value)
        if get("amount") is not None or get("amount_minor") is not None:
            self._add_amount(more, fields, at_us)
        elif get("currency") is not None and not is_currency(get("currency")):
            raise refuse("currency", get("currency"), "an ISO 4217 code such as EUR is needed")
        if get("lat") is not None or get("lon") is not None:
            more["lat"], more["lon"] = check_number(get("lat"), "lat", 90.0), check_number(get("lon"), "lon", 180.0)
        if (value := get("country")) is not None:
            more["country"] = check_country(value)
        if (value := get("outcome")) is not None:
            if value not in OUTCOMES:
                raise refuse("outcome", value, f"one of {', '.join(OUTCOMES)} is needed")
            more["outcome"] = value
        return Event(type=kind, at_us=at_us, entities=entities, tenant=self._tenant(fields), **more)

    def _tenant(self, fields: Mapping[str, Any]) -> str:
        """The configured tenant; a record may repeat it, not change it."""
        tenant = fields.get("tenant")
        if tenant is not None and tenant != self.rules.tenant:
            raise refuse("tenant", tenant, f"records here belong to tenant {self.rules.tenant!r}")
        return self.rules.tenant

    def _add_declared(self, entities: dict[str, Any], declared: Any) -> set[str]:
        """Kinds whose identifiers are tokens already."""
        secrets = set()
        if type(declared) is not dict:
            raise refuse("entities", declared, "an object of kind: id is needed")
        for kind, value in declared.items():
            if kind not in self._kinds:
                known = f"declared kinds: {', '.join(self._kinds)}"
                raise refuse("entities", kind, did_you_mean(show(kind), self._kinds, known))
            if type(value) is Secret:
                value = self._secret_token(kind, value)
                secrets.add(kind)
            if entities.get(kind, value) != value:
                raise refuse(f"entities.{kind}", value, f"{kind} is given twice")
            if value is not None:
                entities[kind] = value
        return secrets

    def token(self, kind: str, value: str) -> str:
        """Keyed BLAKE2b of an identifier, per tenant and kind (32 hex digits); the identifier where it is not to become one."""
        kinds = self.rules.token_kinds
        return value if self._key is None or (kinds is not None and kind not in kinds) else self._hashed(kind, value)

    def _hashed(self, kind: str, value: str) -> str:
        assert self._key is not None
        tenant = self.rules.tenant
        text = f"{len(tenant)}:{tenant}{len(kind)}:{kind}{value}".encode()
        return blake2b(text, digest_size=16, key=self._key).hexdigest()

    def _secret_token(self, kind: str, value: Secret) -> str:
        if self._key is None:
            raise BadInput(
                f"entities.{kind} is to become a token, and there is no key", hint="set RINGWATCH_TOKEN_KEY", field=kind
            )
        return self._hashed(kind, str(value))

    def _add_amount(self, more: dict[str, Any], fields: Mapping[str, Any], at_us: int) -> None:
        major, minor, currency = fields.get("amount"), fields.get("amount_minor"), fields.get("currency")
        if currency is None:
            currency = self.rules.currency
        elif not is_currency(currency):
            raise refuse("currency", currency, "an ISO 4217 code such as EUR is needed")
        if major is None:
            minor = check_integer(minor, "amount_minor")
        elif minor is not None:
            raise refuse("amount", major, "give amount or amount_minor, not both")
        elif type(major) is float and -1e12 < major < 1e12:
            minor = float_to_minor(major, currency)
        else:
            minor = to_minor(check_decimal(major, "amount"), currency)
        if minor < 0:
            raise refuse("amount", minor if major is None else major, "zero or more is needed; a refund is a type")
        converted = self._rates.convert(minor, currency, at_us)
        if max(minor, converted or 0) > MAX_INT:
            raise refuse("amount", minor if major is None else major, "at most 2^53 minor units are accepted")
        more["amount_minor"], more["currency"] = converted, currency
        if converted is None:
            more["degraded"] = ("no_fx",)

    def _label(self, fields: Mapping[str, Any]) -> Label:
        if not fields.keys() <= _LABEL_FIELDS:
            extra = next(name for name in fields if name not in _LABEL_FIELDS)
            raise refuse("label", extra, f"a label has only {', '.join(sorted(_LABEL_FIELDS))}")
        target, label = fields.get("label_of"), fields.get("label")
        if type(target) is dict and target.keys() == {"event"}:
            kind, value = "event", check_text(target["event"], "label_of.event")
        elif type(target) is dict and target.keys() == {"kind", "id"}:
            kind = target["kind"]
            if type(kind) is not str or kind not in self._kinds:
                raise refuse("label_of.kind", kind, f"declared kinds: {', '.join(self._kinds)}")
            value = self.token(kind, check_text(target["id"], "label_of.id"))
        else:
            raise refuse("label_of", target, 'write {"event": ID} or {"kind": "user", "id": ID}')
        if label != "fraud" and label != "good":
            raise refuse("label", label, "fraud or good is needed")
        known_at_us = check_time(fields.get("known_at"), "known_at", self.rules.naive_times)
        return Label(kind, value, "fraud" if label == "fraud" else "good", known_at_us, self._tenant(fields))


def _clean(texts: dict[str, Any], entities: dict[str, Any]) -> bool:
    """Whether all are printable texts of 1 to 256 characters without a card number; False means: look closer."""
    try:
        joined = "|".join((*texts.values(), *entities.values()))
    except TypeError:
        return False
    if not joined.isprintable() or may_hold_card_number(joined):
        return False
    if "||" in joined or joined[:1] in ("|", "") or joined[-1] == "|":
        return False
    return len(joined) <= MAX_ID or (
        max(map(len, texts.values())) <= MAX_ID and max(map(len, entities.values()), default=0) <= MAX_ID
    )


def _attributes(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise refuse("attributes", value, "an object of scalars is needed")
    if len(value) > MAX_ATTRIBUTES:
        raise refuse("attributes", f"{len(value)} values", f"at most {MAX_ATTRIBUTES} are accepted")
    found: dict[str, Any] = {}
    for name, v in value.items():
        check_text(name, "attributes", 64)
        if v is not None:
            found[name] = check_scalar(v, f"attributes.{name}")
    return found


def check_kind(fields: Mapping[str, Any], wanted: type[Event] | type[Label], *, events: str, labels: str) -> None:
    """Raises BadInput for a label where events are wanted and for an event where labels are; `events` and `labels`: where to send
    them. A record without a type is a label if it says of what."""
    kind = fields.get("type")
    if wanted is Event and (kind == "label" or (kind is None and "label_of" in fields)):
        raise BadInput("this is a label, not an event", hint=f"send it to {labels}", field="type")
    if wanted is Label and type(kind) is str and kind in TYPE_CODES:
        raise BadInput("this is an event, not a label", hint=f"send it to {events}", field="type")


def _not_of_events(fields: Mapping[str, Any]) -> BadInput:
    """Why fields that are not all an event's are refused."""
    name = next(name for name in fields if name not in _EVENT_FIELDS)
    if name in _OF_LABELS and fields.get("type") is None:
        return refuse("type", None, 'a label has "type": "label"')
    if name in _OF_LABELS:
        hint = (
            'what turned out true is a record of its own: {"type": "label", "label_of": {"event": ID}, "label": ..., '
            '"known_at": ...}'
        )
        return BadInput(f"an event has no field {name!r}", hint=hint, field=name, code="invalid")
    hint = did_you_mean(show(name), _EVENT_FIELDS, "put other values under attributes, declared kinds under entities")
    return BadInput(f"field {show(name, quote=True)} is not known", hint=hint, field=show(name), code="invalid")


def _unknown_type(kind: object) -> BadInput:
    known = (*TYPE_CODES, "label")
    return refuse("type", kind, did_you_mean(show(kind), known, f"one of {', '.join(known)}"))
