"""Bytes or fields -> Event or Label: the one place where what comes from outside is checked.

Every refusal is a BadInput that names the field, the value and what is accepted; a card number is never echoed.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any

import msgspec

from ingest.card_numbers import MASK, holds_card_number
from ingest.currency import RateTable, to_minor
from ringwatch.errors import BadInput
from ringwatch.model import BUILTIN_KINDS, MICROSECONDS, TYPE_CODES, Event, Kind, Label

_MAX_ID, _MAX_TEXT, _MAX_ATTRIBUTES = 256, 1024, 64
_MAX_INT = 2**53
EARLIEST_US = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()) * MICROSECONDS
LATEST_US = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * MICROSECONDS
_OUTCOMES = ("approved", "declined", "success", "failed")
_TEXTS = ("category", "channel", "user_agent", "order_id", "step", "outcome_code")
_INTS = ("quantity", "unit_price_minor", "stock_after")
_OTHER = ("event_id", "type", "at", "tenant", "entities", "amount", "amount_minor", "currency", "lat", "lon", "country",
          "outcome", "attributes", "label_of", "label", "known_at")  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EventRules:
    tenant: str = "default"
    currency: str = "EUR"
    naive_times: str = "refuse"
    """"refuse", or "utc": read a time without a zone as UTC."""
    token_key: bytes | None = None
    kinds: tuple[Kind, ...] = BUILTIN_KINDS


def refuse(field: str, value: object, accepted: str, code: str = "invalid") -> BadInput:
    """The one form of refusal: field, value (cut, card numbers masked), what is accepted."""
    shown = repr(value)
    if holds_card_number(shown):
        shown = MASK
    return BadInput(f"{field} is {shown[:80]}", hint=accepted, field=field, code=code)


def at_us_of(value: object, field: str, naive_times: str) -> int:
    """ISO-8601 text or a datetime to microseconds."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise refuse(field, value, "a time such as 2026-05-01T12:00:00Z is needed", "time") from None
    if not isinstance(value, datetime):
        raise refuse(field, value, "a time such as 2026-05-01T12:00:00Z is needed", "time")
    if value.tzinfo is None:
        if naive_times != "utc":
            raise refuse(field, value.isoformat(), "a time zone is needed, or RINGWATCH_NAIVE_TIMES=utc", "time")
        value = value.replace(tzinfo=UTC)
    delta = value - _EPOCH
    return check_time((delta.days * 86_400 + delta.seconds) * MICROSECONDS + delta.microseconds, field)


def check_time(at_us: int, field: str) -> int:
    if not EARLIEST_US <= at_us < LATEST_US:
        shown = f"{at_us / MICROSECONDS:.0f} s after 1970"
        raise refuse(field, shown, "a time between 1990 and 2100 is needed", "time")
    return at_us


class TimeGuard:
    """Refuses a jump of a file's time far past the newest event before it. A jump is believed once a second record in a row
    confirms it within the allowed distance, so that one wild first record does not refuse the whole file."""

    def __init__(self, future_jump_us: int) -> None:
        self._jump_us = future_jump_us
        self._newest_us: int | None = None

    def check(self, event: Event) -> None:
        """Raises BadInput(code="time")."""
        newest = self._newest_us
        if newest is not None and event.at_us > newest + self._jump_us:
            days = (event.at_us - newest) / 86_400 / MICROSECONDS
            shown = _EPOCH.timestamp() + event.at_us / MICROSECONDS
            at = datetime.fromtimestamp(shown, UTC).isoformat()
            raise BadInput(
                f"at is {at}, {days:.0f} days past every event before it",
                hint=f"at most {self._jump_us / 86_400 / MICROSECONDS:.0f} days are accepted",
                field="at",
                code="time",
            )
        self._newest_us = event.at_us if newest is None else max(newest, event.at_us)


class EventDecoder:
    """Checks and normalises. Stateless after construction; not tied to a source."""

    def __init__(self, rules: EventRules, rates: RateTable) -> None:
        self.rules = rules
        self._rates = rates
        self._kinds = {k.name for k in rules.kinds}
        self._builtin = {k.name for k in BUILTIN_KINDS}
        self._known = self._builtin | set(_TEXTS) | set(_INTS) | set(_OTHER)
        self._json = msgspec.json.Decoder(dict[str, Any])

    def decode(self, raw: bytes) -> Event | Label:
        """One native JSON object."""
        try:
            fields = self._json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            code = "encoding" if isinstance(error, UnicodeDecodeError) or "utf-8" in str(error).lower() else "invalid"
            raise BadInput(f"record is not a JSON object: {error}", hint="one JSON object a line", code=code) from None
        return self.from_fields(fields)

    def from_fields(self, fields: Mapping[str, Any]) -> Event | Label:
        """An event or label from named fields, as in the native format; None means absent."""
        for name in fields:
            if name not in self._known:
                near = difflib.get_close_matches(str(name), self._known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "put other values under attributes"
                raise BadInput(
                    f"field {str(name)[:80]!r} is not known", hint=hint, field=str(name)[:80], code="invalid"
                )
        if fields.get("type") == "label":
            return self._label(fields)
        return self._event(fields)

    def _event(self, f: Mapping[str, Any]) -> Event:
        kind = f.get("type")
        if kind not in TYPE_CODES:
            near = difflib.get_close_matches(str(kind), TYPE_CODES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(TYPE_CODES)}, label"
            raise refuse("type", kind, hint)
        tenant = self._tenant(f)
        at_us = at_us_of(f.get("at"), "at", self.rules.naive_times)
        amount, currency, degraded = self._amount(f, at_us)
        lat, lon = _number(f, "lat", 90.0), _number(f, "lon", 180.0)
        if (lat is None) != (lon is None):
            raise refuse("lat" if lat is None else "lon", None, "lat and lon come together")
        outcome = f.get("outcome")
        if outcome is not None and outcome not in _OUTCOMES:
            raise refuse("outcome", outcome, f"one of {', '.join(_OUTCOMES)}")
        texts = {name: _text(value, name, _MAX_TEXT) for name in _TEXTS if (value := f.get(name)) is not None}
        ints = {name: _integer(value, name) for name in _INTS if (value := f.get(name)) is not None}
        return Event(
            event_id=_text(f.get("event_id"), "event_id", _MAX_ID),
            type=str(kind),
            at_us=at_us,
            entities=self._entities(f, tenant),
            tenant=tenant,
            amount_minor=amount,
            currency=currency,
            lat=lat,
            lon=lon,
            country=_country(f.get("country")),
            outcome=outcome,
            attributes=_attributes(f.get("attributes")),
            degraded=degraded,
            **texts,
            **ints,
        )

    def _tenant(self, f: Mapping[str, Any]) -> str:
        """The configured tenant; a record may repeat it, not change it."""
        tenant = f.get("tenant")
        if tenant is not None and tenant != self.rules.tenant:
            raise refuse("tenant", tenant, f"records here belong to tenant {self.rules.tenant!r}")
        return self.rules.tenant

    def _entities(self, f: Mapping[str, Any], tenant: str) -> dict[str, str]:
        found = {k: value for k in self._builtin if (value := f.get(k)) is not None}
        declared = f.get("entities")
        if declared is not None:
            if not isinstance(declared, dict):
                raise refuse("entities", declared, "an object of kind: id is needed")
            for kind, value in declared.items():
                if kind not in self._kinds:
                    hint = f"declared kinds: {', '.join(sorted(self._kinds))}"
                    raise refuse("entities", kind, hint)
                if kind in found and found[kind] != value:
                    raise refuse(f"entities.{kind}", value, f"{kind} is given twice")
                if value is not None:
                    found[kind] = value
        ids = {kind: _text(found[kind], kind, _MAX_ID) for kind in sorted(found)}
        return {kind: self.token(tenant, kind, value) for kind, value in ids.items()} if self.rules.token_key else ids

    def token(self, tenant: str, kind: str, value: str) -> str:
        """Keyed BLAKE2b of an identifier, per tenant and kind; the identifier itself where no key is set."""
        if self.rules.token_key is None:
            return value
        text = f"{len(tenant)}:{tenant}{len(kind)}:{kind}{value}".encode()
        return blake2b(text, digest_size=16, key=self.rules.token_key[:64]).hexdigest()

    def _amount(self, f: Mapping[str, Any], at_us: int) -> tuple[int | None, str | None, tuple[str, ...]]:
        major, minor, currency = f.get("amount"), f.get("amount_minor"), f.get("currency")
        if major is None and minor is None:
            return None, None, ()
        if major is not None and minor is not None:
            raise refuse("amount", major, "give amount or amount_minor, not both")
        currency = self.rules.currency if currency is None else currency
        if not (isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isupper()):
            raise refuse("currency", currency, "an ISO 4217 code such as EUR is needed")
        if minor is None:
            minor = to_minor(_decimal(major, "amount"), currency)
        minor = _integer(minor, "amount_minor" if major is None else "amount")
        if minor < 0:
            raise refuse("amount", major if major is not None else minor, "an amount is not below zero")
        converted = self._rates.convert(minor, currency, at_us)
        if converted is not None and converted > _MAX_INT:
            raise refuse("amount", converted, "at most 2^53 minor units")
        return converted, currency, () if converted is not None else ("no_fx",)

    def _label(self, f: Mapping[str, Any]) -> Label:
        target = f.get("label_of")
        if isinstance(target, dict) and set(target) == {"event"}:
            kind, value = "event", _text(target["event"], "label_of.event", _MAX_ID)
        elif isinstance(target, dict) and set(target) == {"kind", "id"} and target["kind"] in self._kinds:
            kind = target["kind"]
            value = self.token(self.rules.tenant, kind, _text(target["id"], "label_of.id", _MAX_ID))
        else:
            raise refuse("label_of", target, '{"event": id} or {"kind": "user", "id": id}')
        label = f.get("label")
        if label not in ("fraud", "good"):
            raise refuse("label", label, "fraud or good")
        tenant = self._tenant(f)
        known_at_us = at_us_of(f.get("known_at"), "known_at", self.rules.naive_times)
        return Label(kind, value, label, known_at_us, tenant)


def _text(value: Any, field: str, most: int) -> str:
    if type(value) is not str:
        if type(value) is int and abs(value) < 2**63:
            value = str(value)
        else:
            raise refuse(field, value, f"text of 1 to {most} characters is needed")
    if not 0 < len(value) <= most:
        raise refuse(field, value, f"text of 1 to {most} characters is needed, this has {len(value)}")
    if not value.isprintable():
        raise refuse(field, value, "control characters and broken encodings are not accepted", "encoding")
    if len(value) >= 13 and holds_card_number(value):
        raise refuse(field, value, "full card numbers are refused: send a token", "card_number")
    return str(value)


def _decimal(value: Any, field: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise refuse(field, value, "a decimal number is needed")
    if isinstance(value, str) and len(value) > 40:
        raise refuse(field, value, "a decimal number is needed")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise refuse(field, value, "a decimal number is needed") from None
    if not number.is_finite() or abs(number) > _MAX_INT:
        raise refuse(field, value, "a finite decimal number below 2^53 is needed")
    return number


def _integer(value: Any, field: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse(field, value, "a whole number is needed")
    if abs(value) > _MAX_INT:
        raise refuse(field, value, "a whole number between -2^53 and 2^53 is needed")
    return value


def _number(f: Mapping[str, Any], field: str, most: float) -> float | None:
    value = f.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > most:
        raise refuse(field, value, f"a number between {-most:.0f} and {most:.0f} is needed")
    return float(value)


def _country(value: Any) -> str | None:
    if value is None:
        return None
    if not (isinstance(value, str) and len(value) == 2 and value.isascii() and value.isalpha()):
        raise refuse("country", value, "two letters such as DE are needed")
    return value.upper()


_SCALARS: dict[type, Callable[[Any, str], Any]] = {
    str: lambda v, name: _text(v, name, _MAX_TEXT) if v else v,
    int: _integer,
    bool: lambda v, _: v,
}


def _attributes(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > _MAX_ATTRIBUTES:
        raise refuse("attributes", value, f"an object of at most {_MAX_ATTRIBUTES} scalars is needed")
    checked: dict[str, Any] = {}
    for name, v in value.items():
        if v is None:
            continue
        _text(name, "attributes", 64)
        if type(v) is float:
            if not math.isfinite(v):
                raise refuse(f"attributes.{name}", v, "a finite number is needed")
            checked[name] = v
        elif type(v) in _SCALARS:
            checked[name] = _SCALARS[type(v)](v, f"attributes.{name}")
        else:
            raise refuse(f"attributes.{name}", v, "text, a number or true/false is needed")
    return checked
