"""Cursors of pages: opaque to the caller, checked when they come back. There is nothing secret in them."""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b

import msgspec

from ringwatch.errors import BadInput

_LONGEST = 512


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    last_at_us: int
    alert_id: str
    question: str
    """Hash of the filters it belongs to."""


def write_cursor(place: tuple[int, str] | None, question: object) -> str | None:
    if place is None:
        return None
    content = msgspec.msgpack.encode(_Cursor(*place, _digest(question)))
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def read_cursor(text: str | None, question: object) -> tuple[int, str] | None:
    """Where to go on. Raises BadInput for a cursor that is none, or of other filters."""
    if not text:
        return None
    try:
        if len(text) > _LONGEST:
            raise ValueError(text[:20])
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found = msgspec.msgpack.decode(raw, type=_Cursor)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise BadInput("after is not a cursor", hint="take it from `next` of the page before", field="after") from None
    if found.question != _digest(question):
        raise BadInput("after belongs to other filters", hint="keep the filters while paging", field="after")
    if not -(2**63) <= found.last_at_us < 2**63:
        raise BadInput("after is not a cursor", hint="take it from `next` of the page before", field="after")
    return found.last_at_us, found.alert_id


def _digest(question: object) -> str:
    return blake2b(msgspec.msgpack.encode(question), digest_size=8).hexdigest()
