"""What is wrong, said over HTTP: RFC 9457 problem documents, and the one table from kind of error to status and code.

A detail names the field, the value and what is accepted, card numbers masked; never a stack, a path or a query.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from ingest.card_numbers import mask_card_numbers
from ringwatch.errors import (
    BadInput,
    Conflict,
    Corrupt,
    Denied,
    NotFound,
    RingwatchError,
    ServerDenied,
    StoreAway,
    TooLong,
    Unavailable,
)
from ringwatch.seldom import Seldom

log = logging.getLogger(__name__)
log.addFilter(Seldom())
MEDIA = "application/problem+json"
_encode = msgspec.json.Encoder().encode


class Meaning(msgspec.Struct, frozen=True):
    """What a kind of error is outside: an HTTP status and a code, the same in GraphQL's `extensions.code`."""

    status: int
    code: str


KINDS: dict[type[RingwatchError], Meaning] = {
    BadInput: Meaning(422, "invalid"),
    NotFound: Meaning(404, "not_found"),
    Conflict: Meaning(409, "conflict"),
    Denied: Meaning(403, "denied"),
    ServerDenied: Meaning(503, "store_denied"),
    StoreAway: Meaning(503, "store_away"),
    TooLong: Meaning(503, "timeout"),
    Unavailable: Meaning(503, "unavailable"),
    Corrupt: Meaning(500, "corrupt"),
}
"""The one table. An error's own code (`context["code"]`) may say it more closely: `CODES`."""

_OURS: dict[type[RingwatchError], str] = {
    Corrupt: "stored data fails its own check",
    ServerDenied: "a store does not let this process in",
    StoreAway: "a store does not answer",
}
"""What callers need not know more of; the log says it."""

CODES: dict[str, int] = {
    "not_json": 400,
    "encoding": 400,
    "bad_request": 400,
    "unauthenticated": 401,
    "unknown_event": 404,
    "method": 405,
    "conflict": 409,
    "ledger_away": 503,
    "too_large": 413,
    "media_type": 415,
    "too_many": 429,
    "wrong_host": 421,
    "internal": 500,
}
"""Codes whose status is not their kind's."""


SAID: dict[str, str] = {
    "not_json": "the body is no JSON, or not one that can be taken",
    "encoding": "the body is not UTF-8, or its compression cannot be read",
    "bad_request": "the request cannot be read",
    "unauthenticated": "a key is needed, or this one is not known",
    "denied": "the key has not the scope, or belongs to another tenant",
    "not_found": "there is no such thing in this tenant",
    "unknown_event": "the event of a label is not known: send the event first",
    "method": "this address takes another method",
    "conflict": "it exists with another content; what was kept first stays",
    "too_large": "the body, or the list in it, is too large",
    "media_type": "another content type is needed",
    "too_many": "this key or token has made more requests than it may: wait as long as Retry-After says",
    "wrong_host": "the Host header names no address of this server",
    "invalid": "a field cannot be used: detail says which, and what is accepted",
    "time": "a time lies too far ahead, or is none",
    "card_number": "a card number stands where a token belongs",
    "corrupt": "stored data fails its own check; the server's log has more",
    "internal": "something unexpected; error_id stands in the server's log",
    "unavailable": "the queue is full, the deadline passed, or a part of the service is not ready: send it again later with the same id",
    "timeout": "the answer took longer than it may: ask for less at once",
    "store_away": "a store does not answer; the server's log says which. Send it again later with the same id",
    "store_denied": "a store does not let the server in; its log says which and why",
    "ledger_away": "the ledger, which knows the event of a label, does not answer: send the label again",
}
"""Code -> what it means; /docs lists them."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457. `code` is for programs, `detail` and `hint` for people."""

    type: str
    """Where the code is explained."""
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    """What to do next."""
    field: str = ""
    """The field it is about."""
    error_id: str = ""
    """Of an unexpected error: the line of the log."""
    retry_after_s: float = 0.0


def meaning_of(error: RingwatchError) -> Meaning:
    """Status and code of an error, by its own code where that is known, else by its kind."""
    kind = next(KINDS[cls] for cls in type(error).__mro__ if cls in KINDS)
    code = error.context.get("code")
    if not isinstance(code, str):
        return kind
    return Meaning(CODES.get(code, kind.status), code)


def problem_of(error: RingwatchError) -> Problem:
    meaning = meaning_of(error)
    field = error.context.get("field")
    ours = next((said for kind, said in _OURS.items() if isinstance(error, kind)), None)
    if ours is not None:
        log.log(logging.ERROR if isinstance(error, Corrupt) else logging.WARNING, "%s: %s", meaning.code, error)
    return problem(
        meaning.status,
        meaning.code,
        ours or error.message,
        hint="the server's log says which" if ours else error.hint,
        field=field if isinstance(field, str) else "",
        retry_after_s=error.retry_after_s if isinstance(error, Unavailable) else 0.0,
    )


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    hint: str = "",
    field: str = "",
    error_id: str = "",
    retry_after_s: float = 0.0,
) -> Problem:
    return Problem(
        f"/docs#problem-{code if code in SAID else 'invalid'}",
        HTTPStatus(status).phrase,
        status,
        mask_card_numbers(detail),
        code,
        mask_card_numbers(hint),
        mask_card_numbers(field),
        error_id,
        retry_after_s,
    )


def unexpected(error_id: str) -> Problem:
    """For what nobody foresaw: an id to look up, and nothing of the inside."""
    hint = f"look for {error_id} in the server's log"
    return problem(500, "internal", "something unexpected happened here", hint=hint, error_id=error_id)


def answer(found: Problem, headers: Mapping[str, str] | None = None) -> Response:
    more = dict(headers or {})
    if found.retry_after_s:
        more["retry-after"] = str(max(1, math.ceil(found.retry_after_s)))
    return Response(_encode(found), found.status, more, MEDIA)
