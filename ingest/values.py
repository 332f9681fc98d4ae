"""Checks of single values: what is accepted, and the one form of refusal.

Every function returns the value in its final form or raises BadInput naming the field, the value and what is accepted.
Card numbers are refused wherever they stand and never echoed.
"""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from ingest.card_numbers import holds_card_number, mask_card_numbers, number_is_card
from ringwatch.errors import BadInput
from ringwatch.model import MICROSECONDS, Scalar

MAX_ID, MAX_TEXT, MAX_ATTRIBUTES, MAX_INT = 256, 1024, 64, 2**53
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_US = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()) * MICROSECONDS
LATEST_US = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * MICROSECONDS
CARD_HINT = "full card numbers are refused: send a token, or write token: true in the mapping"
_SHOWN = 80


class Secret(str):
    """An identifier that must not get past the door as it is: the decoder turns it into a keyed token, or refuses."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[secret]'"


_TIME_HINT = "a time such as 2026-05-01T12:00:00Z is needed"


def refuse(field: str, value: object, accepted: str, code: str = "invalid") -> BadInput:
    """The one form of refusal: field, value (cut, card numbers masked), what is accepted."""
    return BadInput(f"{show(field)} is {show(value, quote=True)}", hint=accepted, field=show(field), code=code)


def show(value: object, *, quote: bool = False) -> str:
    """A value fit for a message: one line, card numbers masked, cut."""
    try:
        text = repr(value[:4096] if isinstance(value, str | bytes) else value) if quote else str(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to show"
    text = mask_card_numbers(text[:4096])
    if not text.isprintable():
        text = repr(text)[1:-1]
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def check_text(value: Any, field: str, most: int = MAX_ID, *, lines: bool = False) -> str:
    """Text of 1 to `most` characters without control characters; whole numbers become text. `lines` allows line ends."""
    if type(value) is not str:
        if type(value) is int and abs(value) < 2**63:
            value = str(value)
        else:
            raise refuse(field, value, f"text of 1 to {most} characters is needed")
    if not 0 < len(value) <= most:
        raise refuse(field, value, f"text of 1 to {most} characters is needed, this has {len(value)}")
    if holds_card_number(value):
        raise refuse(field, value, CARD_HINT, "card_number")
    if not value.isprintable():
        for c in value:
            if unicodedata.category(c) in ("Cc", "Cs") and not (lines and c in "\t\r\n"):
                raise refuse(field, value, "control characters and broken encodings are not accepted", "encoding")
    return str(value)


def check_integer(value: Any, field: str) -> int:
    """A whole number within 2^53 either way, so that it survives every store and JSON reader; not a card number."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise refuse(field, value, "a whole number is needed")
    if not -MAX_INT <= value <= MAX_INT:
        raise refuse(field, value, "a whole number between -2^53 and 2^53 is needed")
    if number_is_card(value):
        raise refuse(field, value, CARD_HINT, "card_number")
    return value


def check_number(value: Any, field: str, most: float) -> float:
    """A finite number between -most and most."""
    if type(value) not in (int, float) or not -most <= value <= most:
        raise refuse(field, value, f"a number between {-most:.0f} and {most:.0f} is needed")
    return float(value)


def check_decimal(value: Any, field: str) -> Decimal:
    """A finite decimal number below 2^53, from text or a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise refuse(field, value, "a decimal number is needed")
    if isinstance(value, str) and (len(value) > 40 or "_" in value):
        raise refuse(field, value, "a decimal number such as 1234.50 is needed")
    if isinstance(value, int) and abs(value) > MAX_INT:
        raise refuse(field, value, "a number below 2^53 is needed")
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        raise refuse(field, value, "a decimal number such as 1234.50 is needed") from None
    if not number.is_finite() or number.copy_abs() > MAX_INT:
        raise refuse(field, value, "a finite number below 2^53 is needed")
    if number_is_card(number):
        raise refuse(field, value, CARD_HINT, "card_number")
    return number


def check_country(value: Any) -> str:
    """ISO 3166-1 alpha-2, upper case."""
    if type(value) is not str or len(value) != 2 or not value.isascii() or not value.isalpha():
        raise refuse("country", value, "two letters such as DE are needed")
    return value.upper()


def check_scalar(value: Any, field: str) -> Scalar:
    """A bounded scalar: text, a finite number or a truth value."""
    kind = type(value)
    if kind is str:
        return check_text(value, field, MAX_TEXT, lines=True) if value else ""
    if kind is bool:
        return bool(value)
    if kind is not int and (kind is not float or not math.isfinite(value)):
        raise refuse(field, value, "text, a finite number or true/false is needed")
    if number_is_card(value):
        raise refuse(field, value, CARD_HINT, "card_number")
    return check_integer(value, field) if kind is int else float(value)


def check_time(value: object, field: str, naive_times: str) -> int:
    """ISO 8601 text or a datetime to microseconds; a time without a zone is UTC where `naive_times` is "utc"."""
    given = value
    if type(value) is str:
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise refuse(field, value, _TIME_HINT, "time") from None
    if not isinstance(value, datetime):
        raise refuse(field, value, _TIME_HINT, "time")
    if value.tzinfo is None:
        if naive_times != "utc":
            raise refuse(field, value.isoformat(), "a time zone is needed, or RINGWATCH_NAIVE_TIMES=utc", "time")
        value = value.replace(tzinfo=UTC)
    delta = value - EPOCH
    return check_span((delta.days * 86_400 + delta.seconds) * MICROSECONDS + delta.microseconds, field, given)


def check_span(at_us: int, field: str, given: object = None) -> int:
    """A time between 1990 and 2100; `given` is how it was written."""
    if not EARLIEST_US <= at_us < LATEST_US:
        written = given if type(given) is str else time_text(at_us)
        raise refuse(field, written, "a time between 1990 and 2100 is needed", "time")
    return at_us


def time_text(at_us: int) -> str:
    """Microseconds as ISO 8601, for messages; far times as seconds."""
    try:
        return (EPOCH + timedelta(microseconds=at_us)).isoformat()
    except OverflowError:
        return f"{at_us // MICROSECONDS} s after 1970"
