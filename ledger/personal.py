"""Personal fields of stored events: sealed under a key of their subject, so that they are gone when the key is.

A subject is the user of an event within a tenant; events without one are under a key of their tenant. Keys are random and stored wrapped
by a master key that is not in the database. AES-256-GCM throughout: what was changed, or put with another event, does not open.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.key_file import KEY_BYTES, read_key
from ringwatch.errors import BadInput, Corrupt
from ringwatch.model import Event, Scalar

FIELDS = ("user_agent", "lat", "lon", "order_id", "attributes")
"""Of an event: who or where somebody is, and what customers write as they like. Identifiers are no part of it: they become tokens at the
door (`RINGWATCH_TOKEN_KEY`)."""
ERASED = "erased"
"""Stands in `degraded` of an event whose personal fields are gone."""
HINT = "RINGWATCH_PERSONAL_KEY_FILE names it; without it personal fields cannot be read"
KEY_ID_BYTES = 8
NONCE_BYTES = 12
_VERSION = b"\x01"
_HEAD = len(_VERSION) + KEY_ID_BYTES
_SEALED = b"\xa6sealed"
"""How the name begins in msgpack."""

encode = msgspec.msgpack.Encoder(order="deterministic").encode
decode_event = msgspec.msgpack.Decoder(Event).decode
"""Without its personal fields where these are sealed."""


class _Personal(msgspec.Struct, array_like=True):
    """The fields in the order of `FIELDS`. Fields are only added."""

    user_agent: str | None = None
    lat: float | None = None
    lon: float | None = None
    order_id: str | None = None
    attributes: dict[str, Scalar] = {}


class _Kept(Event, frozen=True, omit_defaults=True):
    """An event as it is stored: its personal fields are in `sealed`."""

    sealed: bytes = b""


class _Sealed(msgspec.Struct):
    sealed: bytes = b""


_decode_personal = msgspec.msgpack.Decoder(_Personal).decode
_decode_sealed = msgspec.msgpack.Decoder(_Sealed).decode
_PLACES = tuple(Event.__struct_fields__.index(name) for name in FIELDS)
_OF_ATTRIBUTES = Event.__struct_fields__.index("attributes")
_NOTHING: dict[str, Any] = {**dict.fromkeys(FIELDS), "attributes": {}}


class SubjectKey(NamedTuple):
    key_id: bytes
    """8 random bytes, in everything that is sealed by it."""
    secret: bytes


class MasterKey:
    """What subjects' keys are wrapped by."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise BadInput(f"the personal key has {len(secret)} bytes", hint=f"{KEY_BYTES} random bytes are needed")
        self._cipher = AESGCM(secret)

    @classmethod
    def of(cls, path: Path, *, make: bool = False) -> MasterKey:
        """Of a file that holds it in hex. `make`: a new one where there is no file, readable by its owner alone."""
        return cls(read_key(path, "personal key", make=make, hint=HINT))

    def wrapped(self, tenant: str, subject: str, key: SubjectKey) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key.secret, _bound("key", tenant, subject, key.key_id))

    def unwrapped(self, tenant: str, subject: str, key_id: bytes, wrapped: bytes) -> SubjectKey:
        """Raises BadInput where another master key wrapped it."""
        nonce, rest = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            return SubjectKey(key_id, self._cipher.decrypt(nonce, rest, _bound("key", tenant, subject, key_id)))
        except InvalidTag:
            message = "the personal key is not the one that this ledger's keys were wrapped by"
            raise BadInput(message, hint="restore the file, or name it by RINGWATCH_PERSONAL_KEY_FILE") from None


def new_key() -> SubjectKey:
    return SubjectKey(os.urandom(KEY_ID_BYTES), os.urandom(KEY_BYTES))


def subject_of(event: Event) -> str:
    """Nothing where it has no user: then its tenant's key is taken."""
    return event.entities.get("user", "")


def is_personal(event: Event) -> bool:
    """Whether it has any of the fields."""
    return (
        event.user_agent is not None
        or event.lat is not None
        or event.lon is not None
        or event.order_id is not None
        or bool(event.attributes)
    )


class Sealer:
    """Seals events under one key."""

    def __init__(self, key: SubjectKey) -> None:
        self._cipher, self._key_id = AESGCM(key.secret), key.key_id

    def body(self, event: Event, nonce: bytes) -> bytes:
        """The event as it is stored. `nonce`: 12 random bytes, for this alone."""
        plain = encode((event.user_agent, event.lat, event.lon, event.order_id, event.attributes))
        closed = self._cipher.encrypt(nonce, plain, _bound("event", event.tenant, event.event_id, self._key_id))
        clear = list(msgspec.structs.astuple(event))
        for place in _PLACES:
            clear[place] = None
        clear[_OF_ATTRIBUTES] = {}
        return encode(_Kept(*clear, _VERSION + self._key_id + nonce + closed))  # type: ignore[call-arg]


def sealed_of(body: bytes) -> bytes:
    """What is sealed in a stored event; nothing where it is plain."""
    return _decode_sealed(body).sealed if _SEALED in body else b""


def key_id_of(sealed: bytes) -> bytes:
    if sealed[:1] != _VERSION:
        message = f"an event is sealed in version {sealed[0]} of the format, which this version does not know"
        raise Corrupt(message, hint="read it with the version that wrote it")
    return sealed[len(_VERSION) : _HEAD]


def opened(event: Event, sealed: bytes, key: SubjectKey) -> Event:
    """The event with its personal fields, the same to the bit. Raises Corrupt where it was changed since."""
    nonce, rest = sealed[_HEAD : _HEAD + NONCE_BYTES], sealed[_HEAD + NONCE_BYTES :]
    bound = _bound("event", event.tenant, event.event_id, key.key_id)
    try:
        personal = _decode_personal(AESGCM(key.secret).decrypt(nonce, rest, bound))
    except InvalidTag:
        message = f"the personal fields of event {event.event_id!r} are not as they were written"
        raise Corrupt(message, hint="restore the ledger from a backup") from None
    return msgspec.structs.replace(event, **msgspec.structs.asdict(personal))


def erased(event: Event) -> Event:
    """Without its personal fields, and marked."""
    found = {**_NOTHING}
    if ERASED not in event.degraded:
        found["degraded"] = (*event.degraded, ERASED)
    return msgspec.structs.replace(event, **found)


def _bound(*parts: str | bytes) -> bytes:
    """What a text in cipher belongs to; no two lists of parts give the same."""
    return encode(parts)
