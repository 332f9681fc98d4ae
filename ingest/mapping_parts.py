"""The parts of a mapping that have a form of their own: file, kinds, time, amount, label."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ingest import cells
from ingest.cells import Reader, Row, TimeReader
from ingest.currency import is_currency
from ingest.mapping_keys import At, Keys
from ingest.values import show
from ringwatch.model import BUILTIN_KINDS, MAX_KINDS, Kind, LabelValue, Strength

FORMATS = ("csv", "jsonl", "parquet")
_KIND_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TIME = ("column", "zone", "format", "epoch", "step_s", "origin")
_LONGEST_DELAY_US = 3660 * 86_400 * 1_000_000
_DURATION = "a duration such as 7d, 36h, 10m or 0 is needed, at most ten years"
_PROBE = datetime(2026, 11, 23, 21, 45, 7, 250_000, tzinfo=UTC)
"""Written and read back by a time pattern to see whether it holds a whole date."""


@dataclass(frozen=True, slots=True)
class LabelRule:
    column: str
    fraud: frozenset[str]
    good: frozenset[str]
    """Every other value means: not labelled."""
    delay_us: int

    def of(self, row: Row) -> LabelValue | None:
        value = cells.label_text(row.get(self.column))
        return "fraud" if value in self.fraud else "good" if value in self.good else None


@dataclass(frozen=True, slots=True)
class FileForm:
    """What a mapping says of the file itself."""

    format: str | None
    delimiter: str
    header: tuple[str, ...] | None
    """Column names of a CSV that has no header line."""


def file_form(keys: Keys, content: dict[str, Any]) -> FileForm:
    form = keys.one_of(("format",), content.get("format"), FORMATS)
    for key in ("delimiter", "columns"):
        if content.get(key) is not None and form not in (None, "csv"):
            raise keys.wrong((key,), f"{key} is given, and format is {form}", "only a CSV has it; take one of them out")
    delimiter = content.get("delimiter")
    if delimiter is None:
        delimiter = ","
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        hint = r'one character in quotes is needed: ";" or "\t"'
        raise keys.wrong(("delimiter",), f"delimiter is {show(delimiter, quote=True)}", hint)
    return FileForm(form, delimiter, _header(keys, content.get("columns")))


def _header(keys: Keys, raw: Any) -> tuple[str, ...] | None:
    if raw is None:
        return None
    if not isinstance(raw, list) or not raw or not all(type(n) in (str, int) for n in raw):
        what = f"columns is {show(raw, quote=True)}"
        raise keys.wrong(("columns",), what, "a list of the names, from left to right, is needed")
    names = tuple(map(str, raw))
    for i, name in enumerate(names):
        if name in names[:i]:
            raise keys.wrong(("columns", str(i)), f"column {show(name, quote=True)} is given twice", "rename one")
    return names


def entity_kinds(keys: Keys, raw: Any) -> tuple[Kind, ...]:
    """The built-in kinds, then the declared ones."""
    kinds = list(BUILTIN_KINDS)
    builtin = {kind.name for kind in kinds}
    if raw is not None and not isinstance(raw, dict):
        what = f"kinds is {show(raw, quote=True)}"
        raise keys.wrong(("kinds",), what, "write `terminal: {strength: weak, crowded: true}`")
    for name, given in (raw or {}).items():
        at = ("kinds", str(name))
        spec = keys.under(at, given, ("strength", "crowded"))
        if not isinstance(name, str) or not _KIND_NAME.fullmatch(name) or name in builtin or name == "event":
            what = f"kind {show(name, quote=True)} is built in or no name"
            raise keys.wrong(at, what, "lower-case letters, digits and _ make a name")
        if len(kinds) >= MAX_KINDS:
            hint = f"{MAX_KINDS - len(builtin)} can be declared"
            raise keys.wrong(at, f"kind {name!r} is one too many", hint)
        strength = keys.one_of((*at, "strength"), spec.get("strength"), ("strong", "weak", "none")) or "strong"
        crowded = spec.get("crowded", False)
        if not isinstance(crowded, bool):
            what = f"crowded is {show(crowded, quote=True)}"
            raise keys.wrong((*at, "crowded"), what, "true or false is needed")
        kinds.append(Kind(name, Strength[strength.upper()], crowded))
    return tuple(kinds)


def amount_readers(keys: Keys, raw: Any, *, has_currency: bool) -> dict[str, Reader]:
    at = ("amount",)
    spec = keys.spec(at, raw, ("column", "unit", "currency", "decimal", "negative"))
    minor = keys.one_of((*at, "unit"), spec.get("unit"), ("major", "minor")) == "minor"
    comma = keys.one_of((*at, "decimal"), spec.get("decimal"), (".", ",")) == ","
    absolute = keys.one_of((*at, "negative"), spec.get("negative"), ("refuse", "absolute")) == "absolute"
    column = keys.name(at, spec.get("column"))
    read = cells.amount_reader(column, minor=minor, comma=comma, absolute=absolute)
    found = {"amount_minor" if minor else "amount": read}
    if (currency := spec.get("currency")) is not None:
        check_code(keys, (*at, "currency"), currency)
        if has_currency:
            raise keys.wrong((*at, "currency"), "currency is given twice", "keep it in one place")
        found["currency"] = cells.constant_reader(currency)
    return found


def check_code(keys: Keys, at: At, value: Any) -> None:
    """A currency's code."""
    if not is_currency(value):
        what = f"currency is {show(value, quote=True)}"
        raise keys.wrong(at, what, "an ISO 4217 code such as EUR is needed")


def time_columns(keys: Keys, raw: Any) -> tuple[str, ...]:
    """What a row's time is read from."""
    return tuple(keys.names(("time",), keys.spec(("time",), raw, _TIME).get("column")))


def time_reader(keys: Keys, raw: Any) -> TimeReader:
    at = ("time",)
    spec = keys.spec(at, raw, _TIME)
    ways = [key for key in ("format", "epoch", "step_s") if spec.get(key) is not None]
    if len(ways) > 1 or (spec.get("origin") is not None) != ("step_s" in ways):
        what = f"time has {', '.join(spec)}"
        raise keys.wrong(at, what, "one of format, epoch, or step_s with origin, is needed")
    names = keys.names(at, spec.get("column"), 1 if ways and ways != ["format"] else 4)
    zone = _zone(keys, (*at, "zone"), spec.get("zone"))
    if ways == ["step_s"]:
        step_s, origin = spec["step_s"], cells.origin_of(spec["origin"])
        if type(step_s) not in (int, float) or not 1e-6 <= step_s <= 1e9:
            what = f"step_s is {show(step_s, quote=True)}"
            raise keys.wrong((*at, "step_s"), what, "the seconds of one step are needed")
        if origin is None or not 1990 <= origin.year < 2100:
            what = f"origin is {show(spec['origin'], quote=True)}"
            raise keys.wrong((*at, "origin"), what, "write 2020-01-01T00:00:00Z")
        return cells.step_reader(names[0], origin, float(step_s))
    if ways == ["epoch"]:
        return cells.epoch_reader(names[0], keys.one_of((*at, "epoch"), str(spec["epoch"]), cells.EPOCH_UNITS))
    pattern = spec.get("format")
    if pattern is not None and (trouble := _pattern_trouble(pattern)):
        what = f"format is {show(pattern, quote=True)}: {trouble}"
        raise keys.wrong((*at, "format"), what, 'a pattern such as "%d.%m.%Y %H:%M" is needed')
    return cells.clock_reader(names, pattern, zone)


def _pattern_trouble(pattern: Any) -> str:
    """Why a strptime pattern cannot be used; nothing when it can."""
    if not isinstance(pattern, str):
        return "not a text"
    try:
        read = datetime.strptime(_PROBE.strftime(pattern), pattern)
    except re.error:
        return "it names a part twice"
    except ValueError as error:
        return show(error)
    return "" if read.date() == _PROBE.date() else "it does not hold year, month and day"


def _zone(keys: Keys, at: At, name: Any) -> tzinfo | None:
    if name is None or name == "UTC":
        return None if name is None else UTC
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = "UTC or a name such as Europe/Berlin is needed"
        raise keys.wrong(at, f"zone {show(name, quote=True)} is not known", hint) from None


def label_rule(keys: Keys, raw: Any) -> LabelRule:
    at = ("label",)
    spec = keys.under(at, raw, ("column", "fraud", "good", "delay"))
    if "column" not in spec or spec.get("fraud") is None:
        raise keys.wrong(at, "label lacks column or fraud", "write {column: X, fraud: [1], good: [0], delay: 7d}")
    fraud, good = _values(keys, "fraud", spec["fraud"]), _values(keys, "good", spec.get("good"))
    if not fraud:
        raise keys.wrong((*at, "fraud"), "fraud names no value", "write the values that mean fraud: [1]")
    if both := fraud & good:
        raise keys.wrong((*at, "good"), f"{min(both)!r} is both fraud and good", "keep it in one list")
    delay_us = 0 if spec.get("delay") is None else cells.duration_us(spec["delay"])
    if delay_us is None or delay_us > _LONGEST_DELAY_US:
        raise keys.wrong((*at, "delay"), f"delay is {show(spec['delay'], quote=True)}", _DURATION)
    return LabelRule(keys.name(at, spec["column"]), fraud, good, delay_us)


def _values(keys: Keys, key: str, raw: Any) -> frozenset[str]:
    values = raw if isinstance(raw, list) else [raw]
    if any(isinstance(value, dict | list) for value in values):
        what = f"{key} is {show(raw, quote=True)}"
        raise keys.wrong(("label", key), what, "a value or a list of values is needed")
    return frozenset(text for value in values if (text := cells.label_text(value)) is not None)
