"""Personal fields of one event: sealed, opened, tampered with, erased; and the file of the key."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.streams import payment

from ledger.personal import (
    ERASED,
    FIELDS,
    NONCE_BYTES,
    MasterKey,
    Sealer,
    SubjectKey,
    decode_event,
    encode,
    erased,
    is_personal,
    key_id_of,
    new_key,
    opened,
    sealed_of,
)
from ringwatch.errors import BadInput, Corrupt
from ringwatch.model import Event

AGENT = "Mozilla/5.0 (X11; Linux x86_64)"
FULL = payment(
    1, 1_700_000_000_000_000, user_agent=AGENT, lat=48.2082, lon=16.3738, order_id="o-77", country="AT", amount_minor=990,
    attributes={"sealed": "sealed", "n": 3, "x": 0.1, "gift": True}, degraded=("no_fx",),
)  # fmt: skip
KEY = SubjectKey(b"k" * 8, b"s" * 32)


def sealed_body(event: Event, key: SubjectKey) -> bytes:
    return Sealer(key).body(event, os.urandom(NONCE_BYTES))


scalars = st.one_of(st.text(max_size=20), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.booleans())


@settings(deadline=None)
@given(
    agent=st.none() | st.text(max_size=40),
    place=st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
    order_id=st.none() | st.text(max_size=10),
    attributes=st.dictionaries(st.text(max_size=8), scalars, max_size=4),
)
def test_what_is_sealed_opens_to_the_bit(
    agent: str | None, place: tuple[float, float] | None, order_id: str | None, attributes: dict[str, object]
) -> None:
    lat, lon = place or (None, None)
    event = payment(1, 5, user_agent=agent, lat=lat, lon=lon, order_id=order_id, attributes=attributes, channel="web")
    body = sealed_body(event, KEY)
    clear = decode_event(body)
    assert not is_personal(clear)
    assert (clear.event_id, clear.entities, clear.channel) == (event.event_id, event.entities, event.channel)
    again = opened(clear, sealed_of(body), KEY)
    assert encode(again) == encode(event)
    assert type(again) is Event


def test_nothing_of_it_can_be_read_where_it_is_stored() -> None:
    body = sealed_body(FULL, KEY)
    for said in (AGENT.encode(), b"o-77", b"gift", encode(FULL.lat)):
        assert said in encode(FULL)
        assert said not in body
    assert sealed_body(FULL, KEY) != body, "no two are sealed alike"
    assert key_id_of(sealed_of(body)) == KEY.key_id


def test_a_plain_event_is_not_taken_for_a_sealed_one() -> None:
    assert sealed_of(encode(FULL)) == b""
    assert decode_event(encode(FULL)) == FULL


def test_what_was_changed_or_moved_does_not_open() -> None:
    sealed = sealed_of(sealed_body(FULL, KEY))
    assert opened(FULL, sealed, KEY) == FULL
    for at in range(9, len(sealed)):
        with pytest.raises(Corrupt, match="not as they were written"):
            opened(FULL, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], KEY)
    for other in ({"event_id": "e2"}, {"tenant": "globex"}):
        with pytest.raises(Corrupt):
            opened(msgspec.structs.replace(FULL, **other), sealed, KEY)
    with pytest.raises(Corrupt):
        opened(FULL, sealed, SubjectKey(KEY.key_id, b"t" * 32))
    with pytest.raises(Corrupt, match="version 7"):
        key_id_of(b"\x07" + sealed[1:])


def test_erased_is_missing_and_marked_once() -> None:
    gone = erased(erased(FULL))
    assert not is_personal(gone)
    assert gone.degraded == ("no_fx", ERASED)
    kept = [name for name in Event.__struct_fields__ if name not in (*FIELDS, "degraded")]
    assert [getattr(gone, name) for name in kept] == [getattr(FULL, name) for name in kept]


def test_the_fields_are_those_of_an_event() -> None:
    empty = payment(1, 5)
    assert not is_personal(empty)
    for name in FIELDS:
        assert is_personal(msgspec.structs.replace(empty, **{name: getattr(FULL, name)}))


def test_a_wrapped_key_is_of_its_subject_and_its_master() -> None:
    master, key = MasterKey(b"m" * 32), new_key()
    wrapped = master.wrapped("acme", "u1", key)
    assert key.secret not in wrapped
    assert master.unwrapped("acme", "u1", key.key_id, wrapped) == key
    for tenant, subject, id_ in (("acme", "u2", key.key_id), ("acm", "eu1", key.key_id), ("acme", "u1", b"0" * 8)):
        with pytest.raises(BadInput, match="not the one"):
            master.unwrapped(tenant, subject, id_, wrapped)
    with pytest.raises(BadInput, match="not the one"):
        MasterKey(b"n" * 32).unwrapped("acme", "u1", key.key_id, wrapped)


def test_the_file_of_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "personal.key"
    with pytest.raises(BadInput, match="cannot be read"):
        MasterKey.of(path)
    wrapped = MasterKey.of(path, make=True).wrapped("t", "u", KEY)
    assert path.stat().st_mode & 0o777 == 0o600
    assert MasterKey.of(path, make=True).unwrapped("t", "u", KEY.key_id, wrapped) == KEY
    path.write_text("00ff")
    with pytest.raises(BadInput, match="2 bytes"):
        MasterKey.of(path)
