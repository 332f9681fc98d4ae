"""Cells of people's files to values of event fields: what a mapping is compiled to. Pure, one row at a time.

A reader takes a row (column -> cell) and returns a value for the decoder to check; None means absent. An empty cell, a null
and a NaN are absent. A reader raises BadInput only for what the decoder could not tell: a time, a value outside a map.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any

from ingest.values import Secret, check_span, check_time, refuse
from ringwatch.model import MICROSECONDS

Row = Mapping[str, Any]
Reader = Callable[[Row], Any]
TimeReader = Callable[[Row, str], int]
"""(row, naive_times) -> microseconds; raises BadInput(code="time")."""

_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_POINT_AMOUNT = re.compile(r"-?\d{1,3}(?:[,' ]\d{3})+(?:\.\d*)?")
_COMMA_AMOUNT = re.compile(r"-?(?:\d{1,3}(?:[.' ]\d{3})+|\d+)(?:,\d*)?|-?,\d+")
_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2019": "'"})
_ISO_PATTERNS = frozenset(f"%Y-%m-%d{sep}%H:%M:%S{f}{z}" for sep in " T" for f in ("", ".%f") for z in ("", "%z"))
_EPOCH_US = {"s": MICROSECONDS, "ms": 1000, "us": 1, "ns": 0.001}
EPOCH_UNITS = tuple(_EPOCH_US)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*([smhd])")
_DURATION_US = {"s": MICROSECONDS, "m": 60 * MICROSECONDS, "h": 3600 * MICROSECONDS, "d": 86_400 * MICROSECONDS}


def plain_text(value: Any) -> str | None:
    """A cell as the text a person would write: 5.0 is 5, True is true, blanks around are dropped."""
    kind = type(value)
    if kind is str:
        return value.strip() or None
    if kind is int:
        return str(value) if value.bit_length() < 4096 else hex(value)
    if value is None:
        return None
    if kind is float:
        if math.isnan(value):
            return None
        return str(int(value)) if abs(value) < 1e15 and value.is_integer() else repr(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is bytes:
        return value.decode("utf-8", "surrogateescape") or None
    return str(value)


def key_text(value: Any) -> str | None:
    """A cell as a key of a value map: as plain text, and the text 1.0 is 1."""
    text = plain_text(value)
    if text is not None and text.endswith("0") and (match := _WHOLE.fullmatch(text)):
        return match[1]
    return text


def label_text(value: Any) -> str | None:
    """A cell as a label value: as a key, upper and lower case alike."""
    text = key_text(value)
    return None if text is None else text.casefold()


def number(value: Any) -> Any:
    """A number where the cell can be read as one; the cell itself where not, for the decoder to refuse."""
    kind = type(value)
    if kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return None if math.isnan(value) else value
    if kind is str:
        text = value.strip()
        if not text or text.lower() == "nan":
            return None
        if "_" in text:
            return text
        for read in (int, float):
            try:
                return read(text)
            except ValueError:
                continue
        return text
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return value


def scalar(value: Any) -> Any:
    """An attribute: as it is where it is a scalar, dates and decimals as text; structures are left to be refused."""
    kind = type(value)
    if kind is str:
        return value.strip() or None
    if kind is float:
        return None if math.isnan(value) else value
    if kind is int or kind is bool or value is None or kind is list or kind is dict:
        return value
    return plain_text(value)


def text_reader(columns: Sequence[str], prefix: str = "") -> Reader:
    """The column's text, behind a prefix; several columns joined by a colon, absent when all are."""
    if len(columns) == 1:
        only = columns[0]
        if not prefix:
            return lambda row: _text(row, only)
        return lambda row: None if (text := _text(row, only)) is None else prefix + text

    def joined(row: Row) -> Any:
        parts = [_text(row, column) for column in columns]
        return prefix + ":".join(part or "" for part in parts) if any(parts) else None

    return joined


def _text(row: Row, column: str) -> str | None:
    value = row.get(column)
    if type(value) is str:
        return value.strip() or None
    if isinstance(value, list | dict):
        raise refuse(column, value, "one text or number is needed, not a list or an object")
    return plain_text(value)


def secret_reader(read: Reader) -> Reader:
    """What another reader reads, for the decoder to turn into a keyed token."""
    return lambda row: None if (text := read(row)) is None else Secret(text)


def number_reader(column: str) -> Reader:
    return lambda row: number(row.get(column))


def scalar_reader(column: str) -> Reader:
    return lambda row: scalar(row.get(column))


def constant_reader(value: Any) -> Reader:
    return lambda _row: value


def default_reader(read: Reader, default: Any) -> Reader:
    """The default where the cell is absent."""
    return lambda row: default if (value := read(row)) is None else value


def map_reader(read: Reader, column: str, table: dict[str, Any], default: Any, *, has_default: bool) -> Reader:
    """The value a cell stands for; a cell outside the map is refused unless there is a default."""
    accepted = f"the mapping knows {', '.join(list(table)[:20])}; add it, or a default"

    def mapped(row: Row) -> Any:
        text = key_text(read(row))
        if text in table:
            return table[text]
        if has_default or text is None:
            return default
        raise refuse(column, text, accepted)

    return mapped


def amount_reader(column: str, *, minor: bool, comma: bool, absolute: bool) -> Reader:
    """The amount for the decoder: a number or decimal text in major units, whole minor units where `minor`."""

    def amount(row: Row) -> Any:
        value = row.get(column)
        if type(value) is str:
            value = plain_amount(text := value, comma)
            if comma and value is not None and not _COMMA_AMOUNT.fullmatch(_bare(text)):
                raise refuse(column, text, "an amount such as 1.234,50 is needed: the mapping says decimal: ','")
        if minor:
            value = number(value)
        elif type(value) is float and math.isnan(value):
            value = None
        if absolute and value is not None:
            value = value.lstrip("-") if type(value) is str else abs(value) if _is_number(value) else value
        return value

    return amount


def plain_amount(text: str, comma: bool) -> str | None:
    """Without currency sign and thousands separators: "$1,234.50" is 1234.50, with a decimal comma "1.234,50" is."""
    text = _bare(text)
    if comma:
        text = text.replace(".", "").replace(" ", "").replace("'", "").replace(",", ".")
    elif not text.isalnum() and _POINT_AMOUNT.fullmatch(text):
        text = text.replace(",", "").replace(" ", "").replace("'", "")
    return None if not text or text.lower() == "nan" else text


def _bare(text: str) -> str:
    """Without the currency's sign, and with plain spaces."""
    text = text.strip(" \t\u00a0\u202f$€£¥")
    return text if text.isascii() else text.translate(_SPACES)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) or hasattr(value, "is_finite")


def step_reader(column: str, origin: datetime, step_s: float) -> TimeReader:
    """Steps of a fixed length since an origin."""
    origin_us, step_us = check_time(origin, "origin", "utc"), step_s * MICROSECONDS
    most = 2.0**62 / step_us

    def at(row: Row, _naive: str) -> int:
        value = number(row.get(column))
        if type(value) not in (int, float) or not -most < value < most:
            raise refuse(column, row.get(column), "a number of steps is needed", "time")
        return check_span(origin_us + round(value * step_us), column)

    return at


def epoch_reader(column: str, unit: str) -> TimeReader:
    """Seconds, milliseconds, microseconds or nanoseconds since 1970."""
    unit_us = _EPOCH_US[unit]
    most = 2.0**62 / unit_us

    def at(row: Row, _naive: str) -> int:
        value = number(row.get(column))
        if type(value) not in (int, float) or not -most < value < most:
            raise refuse(column, row.get(column), f"a number of {unit} since 1970 is needed", "time")
        return check_span(round(value * unit_us) if unit_us >= 1 else round(value // 1000), column)

    return at


def clock_reader(columns: Sequence[str], pattern: str | None, zone: tzinfo | None) -> TimeReader:
    """Dates and times as text (ISO 8601 or a strptime pattern) or as datetimes; `zone` is that of times without one."""
    field, only = " ".join(columns), columns[0] if len(columns) == 1 else None
    strict = pattern if pattern not in _ISO_PATTERNS else None
    accepted = f"a time like {pattern or '2026-05-01T12:00:00'} is needed"

    def at(row: Row, naive_times: str) -> int:
        value = row.get(only) if only is not None else " ".join(_text(row, c) or "" for c in columns)
        if pattern is not None and type(value) in (int, float):
            value = plain_text(value)
        if type(value) is str:
            try:
                value = datetime.strptime(value.strip(), strict) if strict else datetime.fromisoformat(value.strip())
            except (ValueError, OverflowError):
                raise refuse(field, value, accepted, "time") from None
        elif type(value) is date:
            value = datetime.combine(value, time())
        if not isinstance(value, datetime):
            counted = type(value) in (int, float) and not isinstance(value, bool)
            hint = f"{accepted}, or epoch: {'|'.join(EPOCH_UNITS)} under time" if counted else accepted
            raise refuse(field, value, hint, "time")
        if zone is not None and value.tzinfo is None:
            value = value.replace(tzinfo=zone)
        try:
            return check_time(value, field, naive_times)
        except OverflowError:
            raise refuse(field, value, accepted, "time") from None

    return at


def duration_us(text: object) -> int | None:
    """ "7d", "36h", "10m", "5s" or "0" in microseconds; None when it is none of these."""
    plain = str(text).strip()
    if plain == "0":
        return 0
    match = _DURATION.fullmatch(plain)
    return None if match is None else round(float(match[1]) * _DURATION_US[match[2]])


def origin_of(text: object) -> datetime | None:
    """An ISO time, UTC where it carries no zone; None when it is not one."""
    try:
        origin = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return origin if origin.tzinfo else origin.replace(tzinfo=UTC)
