"""The native format: what is refused and how the refusal reads; what is accepted and how it comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.values import Secret
from ringwatch.errors import BadInput
from ringwatch.model import Event, Label
from tests.support.door import AT, AT_US, CARDS, DAY_0, decoder, refused

BASE = {"event_id": "e1", "type": "payment", "at": AT, "user": "u1", "card": "c1", "amount": 12.5, "currency": "EUR"}


def event(**changes: Any) -> Event:
    fields = {k: v for k, v in {**BASE, **changes}.items() if v is not ...}
    made = decoder().decode(json.dumps(fields).encode())
    assert isinstance(made, Event)
    return made


def test_an_event_comes_out_normalised() -> None:
    made = event(country="de", attributes={"note": "x", "n": 3, "ok": True})
    assert (made.event_id, made.type, made.at_us, made.amount_minor, made.currency) == (
        "e1",
        "payment",
        AT_US,
        1250,
        "EUR",
    )
    assert made.entities == {"user": "u1", "card": "c1"}
    assert made.country == "DE"
    assert made.attributes == {"note": "x", "n": 3, "ok": True}


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("event_id", "", "1 to 256 characters"),
        ("event_id", ..., "1 to 256 characters"),
        ("event_id", "x" * 257, "this has 257"),
        ("event_id", ["a"], "1 to 256 characters"),
        ("type", "paymnt", "did you mean 'payment'?"),
        ("type", 7, "one of"),
        ("type", ..., "one of"),
        ("at", "yesterday", "a time such as"),
        ("at", "2026-05-01T12:00:00", "a time zone is needed"),
        ("at", "2026-02-30T12:00:00Z", "a time such as"),
        ("at", "1812-05-01T12:00:00Z", "between 1990 and 2100"),
        ("at", "9999-05-01T12:00:00Z", "between 1990 and 2100"),
        ("at", 1_777_636_800, "a time such as"),
        ("at", ..., "a time such as"),
        ("user", "", "1 to 256 characters"),
        ("user", "a\u0000b", "control characters"),
        ("user", {"id": 1}, "1 to 256 characters"),
        ("user", 2**70, "1 to 256 characters"),
        ("amount", "twelve", "a decimal number"),
        ("amount", "NaN", "a finite number"),
        ("amount", "Infinity", "a finite number"),
        ("amount", 1e300, "below 2^53"),
        ("amount", -1, "zero or more"),
        ("amount", True, "a decimal number"),
        ("amount_minor", 5, "not both"),
        ("currency", "EURO", "ISO 4217"),
        ("quantity", 1.5, "a whole number"),
        ("quantity", 2**60, "between -2^53 and 2^53"),
        ("lat", 91, "between -90 and 90"),
        ("country", "Germany", "two letters"),
        ("outcome", "maybe", "one of approved"),
        ("attributes", [1], "an object of scalars"),
        ("attributes", {"deep": {"er": 1}}, "text, a finite number or true/false"),
        ("attributes", {f"a{i}": i for i in range(65)}, "at most 64"),
        ("entities", {"spaceship": "s"}, "declared kinds"),
        ("entities", {"usr": "s"}, "did you mean 'user'?"),
        ("tenant", "someone-else", "belong to tenant 'default'"),
        ("zzz", "red", "attributes"),
        ("ammount", 3, "did you mean 'amount'?"),
    ],
)
def test_a_refusal_names_field_value_and_what_is_accepted(field: str, value: Any, accepted: str) -> None:
    with pytest.raises(BadInput) as caught:
        event(**{field: value})
    text = refused(caught.value)
    assert field.removesuffix("_minor") in text
    assert accepted in text
    assert len(text) < 700


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b"[{}]", "not a list"),
        (b'"text"', "one JSON object a line"),
        (b'{"event_id": NaN}', "not a JSON object"),
        (b'{"event_id": "\xff\xfe"}', "UTF-8"),
        (b"\x00\x01\x02", "not a JSON object"),
        (b"[" * 100_000, "not a JSON object"),
    ],
)
def test_bytes_that_are_no_record(raw: bytes, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        decoder().decode(raw)
    assert says.lower() in refused(caught.value).lower()


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize(
    "field", ["event_id", "user", "card", "order_id", "attributes", "quantity", "amount", "session"]
)
@pytest.mark.parametrize("written", ["{}", "{:-}", "{:.}", "{:_}", "{:\u200b}", "pan {}!"])
def test_card_numbers_are_refused_wherever_they_stand(card: str, field: str, written: str) -> None:
    gap = written[2:-1] if written.startswith("{:") else ""
    size = 1 if gap == "." else 4
    value: Any = gap.join(card[i : i + size] for i in range(0, len(card), size)) if gap else written.format(card)
    if field in ("quantity", "amount"):
        if written != "{}":
            return
        value = int(card)
    with pytest.raises(BadInput) as caught:
        event(**{field: {"note": value} if field == "attributes" else value})
    text = refused(caught.value)
    assert not any(card[i : i + 10] in text for i in range(len(card) - 9))


def test_identifiers_that_only_resemble_card_numbers_pass() -> None:
    for identifier in ("4111111111111112", "1234567890123456", "0f1e2d3c-4111-4111-8111-111111111111", "41111111"):
        assert event(card=identifier).entities["card"] == identifier


def test_amounts_are_converted_by_the_rate_of_their_day() -> None:
    made = decoder({"USD": [(DAY_0, "0.9"), (DAY_0 + 50, "0.8")]}).decode(
        json.dumps({**BASE, "amount": "10.00", "currency": "USD"}).encode()
    )
    assert isinstance(made, Event)
    assert (made.amount_minor, made.currency, made.degraded) == (800, "USD", ())
    unknown = event(currency="CHF")
    assert (unknown.amount_minor, unknown.degraded) == (None, ("no_fx",))


def test_labels() -> None:
    raw = {"type": "label", "label_of": {"event": "e1"}, "label": "fraud", "known_at": AT}
    label = decoder().decode(json.dumps(raw).encode())
    assert label == Label("event", "e1", "fraud", AT_US, "default")
    for change in ({"label": "maybe"}, {"label_of": "e1"}, {"label_of": {"kind": "ship", "id": "1"}}, {"at": AT}):
        with pytest.raises(BadInput):
            decoder().decode(json.dumps({**raw, **change}).encode())


def test_tokens_replace_identifiers_by_tenant_and_kind() -> None:
    made = decoder(token_key=b"k" * 32).decode(json.dumps(BASE).encode())
    again = decoder(token_key=b"k" * 32).decode(json.dumps({**BASE, "event_id": "e2"}).encode())
    other = decoder(token_key=b"k" * 32, tenant="other").decode(json.dumps(BASE).encode())
    assert isinstance(made, Event)
    assert isinstance(again, Event)
    assert isinstance(other, Event)
    assert made.entities == again.entities
    assert "u1" not in made.entities.values()
    assert not set(made.entities.values()) & set(other.entities.values())
    assert made.event_id == "e1"


def test_tokens_of_some_kinds_leave_the_others() -> None:
    raw = {**BASE, "email": "vera@example.com", "ip": "10.0.0.1"}
    some = decoder(token_key=b"k" * 32, token_kinds=frozenset({"email"})).from_fields(raw)
    every, none = decoder(token_key=b"k" * 32).from_fields(raw), decoder().from_fields(raw)
    assert isinstance(some, Event)
    assert isinstance(every, Event)
    assert isinstance(none, Event)
    assert some.entities == {**none.entities, "email": every.entities["email"]}


@pytest.mark.parametrize("kinds", [None, frozenset({"card"}), frozenset({"email"})])
def test_what_a_mapping_makes_a_token_is_the_same_token(kinds: frozenset[str] | None) -> None:
    """Whether it comes through a mapping, as a native event or in a label."""
    door = decoder(token_key=b"k" * 32, token_kinds=kinds)
    mapped = door.from_fields({k: v for k, v in BASE.items() if k != "card"} | {"entities": {"card": Secret("c-1")}})
    native = decoder(token_key=b"k" * 32).from_fields({**BASE, "card": "c-1"})
    assert isinstance(mapped, Event)
    assert isinstance(native, Event)
    assert mapped.entities["card"] == native.entities["card"] == decoder(token_key=b"k" * 32).token("card", "c-1")


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40), st.binary(max_size=10).map(repr),
    st.sampled_from([*CARDS, AT, "EUR", "payment", "2026-13-01T00:00:00Z", "\ud800", "1e400", 10**400, -(2**63)]),
)  # fmt: skip
_ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*BASE, "attributes", "entities", "lat", "lon", "label", "label_of", "x"]), _ANYTHING
    )
)
def test_any_fields_are_an_event_or_a_clear_refusal(changes: dict[str, Any]) -> None:
    try:
        made = decoder().from_fields({**BASE, **changes})
    except BadInput as error:
        refused(error)
        return
    assert isinstance(made, Event | Label)
    assert not any(card in repr(made) for card in CARDS)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 120), st.integers(0, 120))
def test_any_bytes_are_an_event_or_a_clear_refusal(noise: bytes, start: int, stop: int) -> None:
    raw = json.dumps(BASE).encode()
    for attempt in (noise, raw[:start] + noise + raw[stop:]):
        try:
            decoder().decode(attempt)
        except BadInput as error:
            refused(error)
