"""People's files in our terms: a small YAML from columns to event fields (documented in docs/mapping.md)."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections.abc import Callable
from collections.abc import Mapping as Columns
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from ingest.events import EventDecoder, refuse
from ringwatch.errors import BadInput
from ringwatch.model import BUILTIN_KINDS, MICROSECONDS, TYPE_CODES, Event, Kind, Label, Strength

_TOP = ("format", "delimiter", "columns", "kinds", "type", "event_id", "time", "entities", "amount", "fields",
        "constants", "attributes", "label")  # fmt: skip
_FORMATS = ("csv", "jsonl", "parquet")
_PLAIN = ("category", "channel", "user_agent", "order_id", "step", "outcome", "outcome_code", "country", "lat", "lon",
          "quantity", "unit_price_minor", "stock_after", "currency")  # fmt: skip
_EPOCH_US = {"s": MICROSECONDS, "ms": 1000, "us": 1}
_DELAY_US = {"s": MICROSECONDS, "m": 60 * MICROSECONDS, "h": 3600 * MICROSECONDS, "d": 86_400 * MICROSECONDS}
Row = Columns[str, Any]
Getter = Callable[[Row], Any]


def duration_us(text: object, where: str) -> int:
    """ "7d", "36h", "0" -> microseconds. Raises BadInput."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(text).strip())
    if str(text).strip() == "0":
        return 0
    if match is None:
        raise BadInput(f"{where} is {text!r}", hint="a duration such as 7d, 36h, 30m, 10s or 0 is needed")
    return int(float(match[1]) * _DELAY_US[match[2]])


@dataclass(frozen=True, slots=True)
class LabelRule:
    column: str
    fraud: frozenset[str]
    good: frozenset[str]
    delay_us: int

    def of(self, row: Row) -> str | None:
        value = plain_text(row.get(self.column))
        return "fraud" if value in self.fraud else "good" if value in self.good else None


@dataclass(frozen=True, slots=True)
class Mapping:
    """A checked mapping: `fields` gives an event's fields from a row, `columns` what it reads."""

    path: str
    format: str | None
    delimiter: str
    header: tuple[str, ...] | None
    """Column names of a CSV without a header line."""
    kinds: tuple[Kind, ...]
    getters: dict[str, Getter]
    entities: dict[str, Getter]
    attributes: dict[str, str]
    time: Callable[[Row], object]
    label: LabelRule | None
    columns: dict[str, int]
    """Column -> line of the mapping that names it."""
    hash: str
    row_id: bool = field(default=False)
    """No event id column: the record number names the event."""

    def check_columns(self, present: list[str]) -> None:
        """Raises BadInput naming the mapping's line when a column it needs is not in the file."""
        for column, line in self.columns.items():
            if column not in present:
                near = difflib.get_close_matches(column, present, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"the file has: {', '.join(present[:30])}"
                raise BadInput(f"{self.path}:{line}: the file has no column {column!r}", hint=hint, line=line)

    def items(self, row: Row, decoder: EventDecoder, row_name: str) -> tuple[Event, Label | None]:
        """The event of a row and its label, if it has one. Raises BadInput."""
        fields: dict[str, Any] = {name: get(row) for name, get in self.getters.items()}
        fields["at"] = self.time(row)
        if self.row_id:
            fields["event_id"] = row_name
        fields["entities"] = {kind: get(row) for kind, get in self.entities.items()}
        if self.attributes:
            fields["attributes"] = {name: _scalar(row.get(column)) for name, column in self.attributes.items()}
        event = decoder.from_fields(fields)
        assert isinstance(event, Event)
        verdict = self.label.of(row) if self.label is not None else None
        if verdict is None or self.label is None:
            return event, None
        known_at_us = event.at_us + self.label.delay_us
        return event, Label("event", event.event_id, verdict, known_at_us, event.tenant)  # type: ignore[arg-type]


def plain_text(value: Any) -> str | None:
    """A cell as the text a person would write: 5.0 is 5, empty and NaN are None."""
    if value is None or value == "":
        return None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _scalar(value: Any) -> Any:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    return value if isinstance(value, str | int | float | bool) else str(value)


def load_mapping(path: Path) -> Mapping:
    """Read and check. Raises BadInput naming file, line and what to mend."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"mapping {path} cannot be read: {error}", hint="`ringwatch map FILE` proposes one") from None
    return parse_mapping(text, str(path))


def parse_mapping(text: str, path: str) -> Mapping:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise BadInput(f"{path}:{line}: not YAML: {getattr(error, 'problem', error)}", hint="mend that line") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}:1: a mapping is needed, not {type(content).__name__}", hint="see docs/mapping.md")
    return _Builder(content, _lines(node), path, hashlib.sha256(text.encode()).hexdigest()[:16]).build()


def _lines(node: yaml.Node | None, at: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """Path of keys -> line, for messages."""
    found: dict[tuple[str, ...], int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*at, str(key.value))
            found[here] = key.start_mark.line + 1
            found.update(_lines(value, here))
    return found


class _Builder:
    def __init__(self, content: dict[str, Any], lines: dict[tuple[str, ...], int], path: str, digest: str) -> None:
        self._content, self._lines, self._path, self._digest = content, lines, path, digest
        self._columns: dict[str, int] = {}

    def _wrong(self, at: tuple[str, ...], what: str, hint: str) -> BadInput:
        while at and at not in self._lines:
            at = at[:-1]
        line = self._lines.get(at, 1)
        return BadInput(f"{self._path}:{line}: {what}", hint=hint, line=line)

    def _known(self, at: tuple[str, ...], given: Any, known: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(given, dict):
            raise self._wrong(at, f"{'.'.join(at) or 'the mapping'} is {given!r}", f"keys: {', '.join(known)}")
        for key in given:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
                raise self._wrong((*at, str(key)), f"unknown key {key!r}", hint)
        return given

    def build(self) -> Mapping:
        c = self._known((), self._content, _TOP)
        if c.get("format") not in (None, *_FORMATS):
            raise self._wrong(("format",), f"format is {c['format']!r}", f"one of {', '.join(_FORMATS)}")
        for needed in ("type", "time"):
            if needed not in c:
                raise self._wrong((), f"{needed} is missing", "a mapping needs at least type, time and entities")
        kinds = self._kinds(c.get("kinds") or {})
        getters: dict[str, Getter] = {"type": self._type(c["type"])}
        row_id = "event_id" not in c
        if not row_id:
            getters["event_id"] = self._event_id(c["event_id"])
        for name, raw in self._known(("fields",), c.get("fields") or {}, _PLAIN).items():
            getters[name] = self._field(("fields", name), raw, number=name in ("lat", "lon", "quantity", "stock_after"))
        for name, value in self._known(("constants",), c.get("constants") or {}, _PLAIN).items():
            getters[name] = lambda _row, value=value: value
        if "amount" in c:
            getters.update(self._amount(c["amount"]))
        return Mapping(
            path=self._path,
            format=c.get("format"),
            delimiter=str(c.get("delimiter", ",")),
            header=tuple(map(str, c["columns"])) if c.get("columns") else None,
            kinds=kinds,
            getters=getters,
            entities=self._entities(c.get("entities") or {}, kinds),
            attributes=self._attributes(c.get("attributes") or {}),
            time=self._time(c["time"]),
            label=self._label(c["label"]) if "label" in c else None,
            columns=self._columns,
            hash=self._digest,
            row_id=row_id,
        )

    def _column(self, at: tuple[str, ...], name: Any) -> str:
        if not isinstance(name, str | int):
            raise self._wrong(at, f"{'.'.join(at)} is {name!r}", "the name of a column is needed")
        self._columns.setdefault(str(name), self._lines.get(at, 1))
        return str(name)

    def _kinds(self, raw: Any) -> tuple[Kind, ...]:
        kinds = list(BUILTIN_KINDS)
        names = {k.name for k in kinds}
        if not isinstance(raw, dict):
            raise self._wrong(("kinds",), f"kinds is {raw!r}", "write name: {strength: weak, crowded: true}")
        for name, spec in raw.items():
            at = ("kinds", str(name))
            spec = self._known(at, spec or {}, ("strength", "crowded"))
            strength = str(spec.get("strength", "strong")).upper()
            if strength not in Strength.__members__ or not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", str(name)):
                raise self._wrong(at, f"kind {name!r} is {spec}", "strength: strong, weak or none; a lower-case name")
            if name in names or len(kinds) >= 16:
                raise self._wrong(at, f"kind {name!r} is built in or one too many", "at most 16 kinds in all")
            kinds.append(Kind(str(name), Strength[strength], bool(spec.get("crowded", False))))
        return tuple(kinds)

    def _type(self, raw: Any) -> Getter:
        if isinstance(raw, str):
            if raw not in TYPE_CODES:
                raise self._wrong(("type",), f"type is {raw!r}", f"one of {', '.join(TYPE_CODES)}")
            return lambda _row: raw
        spec = self._known(("type",), raw, ("column", "map", "default"))
        for value in (spec.get("map") or {}).values():
            if value not in TYPE_CODES:
                raise self._wrong(("type", "map"), f"type {value!r} is not known", f"one of {', '.join(TYPE_CODES)}")
        return self._field(("type",), raw)

    def _event_id(self, raw: Any) -> Getter:
        names = [self._column(("event_id",), n) for n in (raw if isinstance(raw, list) else [raw])]
        if len(names) == 1:
            only = names[0]
            return lambda row: plain_text(row.get(only))
        return lambda row: ":".join(plain_text(row.get(n)) or "" for n in names)

    def _field(self, at: tuple[str, ...], raw: Any, *, number: bool = False) -> Getter:
        """A column, or {column, map, default, prefix}."""
        if not isinstance(raw, dict):
            raw = {"column": raw}
        spec = self._known(at, raw, ("column", "map", "default", "prefix"))
        column = self._column((*at, "column") if (*at, "column") in self._lines else at, spec.get("column"))
        if "map" not in spec:
            prefix = str(spec.get("prefix", ""))
            read = _number if number else plain_text
            if not prefix:
                return lambda row: read(row.get(column))
            return lambda row: None if (v := plain_text(row.get(column))) is None else prefix + v
        table = {plain_text(k): v for k, v in spec["map"].items()}
        default, has_default = spec.get("default"), "default" in spec

        def mapped(row: Row) -> Any:
            value = plain_text(row.get(column))
            if value in table:
                return table[value]
            if has_default or value is None:
                return default
            raise refuse(column, value, f"the mapping knows {', '.join(map(str, table))}")

        return mapped

    def _entities(self, raw: Any, kinds: tuple[Kind, ...]) -> dict[str, Getter]:
        known = tuple(k.name for k in kinds)
        spec = self._known(("entities",), raw, known)
        if not spec:
            raise self._wrong(("entities",), "no entities are mapped", "map at least one column, for example user: ...")
        return {kind: self._field(("entities", kind), value) for kind, value in spec.items()}

    def _amount(self, raw: Any) -> dict[str, Getter]:
        if not isinstance(raw, dict):
            raw = {"column": raw}
        spec = self._known(("amount",), raw, ("column", "unit", "currency"))
        unit = spec.get("unit", "major")
        if unit not in ("major", "minor"):
            raise self._wrong(("amount", "unit"), f"unit is {unit!r}", "major (12.34) or minor (1234)")
        column = self._column(
            ("amount", "column") if ("amount", "column") in self._lines else ("amount",), spec.get("column")
        )
        name = "amount" if unit == "major" else "amount_minor"
        found: dict[str, Getter] = {name: (lambda row: _scalar(row.get(column))) if unit == "major"
                                    else (lambda row: _whole(row.get(column)))}  # fmt: skip
        if spec.get("currency"):
            currency = spec["currency"]
            found["currency"] = lambda _row: currency
        return found

    def _attributes(self, raw: Any) -> dict[str, str]:
        if isinstance(raw, list):
            raw = {str(name): name for name in raw}
        if not isinstance(raw, dict):
            raise self._wrong(("attributes",), f"attributes is {raw!r}", "a list of columns, or name: column")
        return {str(name): self._column(("attributes", str(name)), column) for name, column in raw.items()}

    def _time(self, raw: Any) -> Callable[[Row], object]:
        if not isinstance(raw, dict):
            raw = {"column": raw}
        spec = self._known(("time",), raw, ("column", "zone", "format", "epoch", "step_s", "origin"))
        column = self._column(
            ("time", "column") if ("time", "column") in self._lines else ("time",), spec.get("column")
        )
        zone = spec.get("zone")
        if zone not in (None, "UTC"):
            raise self._wrong(("time", "zone"), f"zone is {zone!r}", "UTC, or leave it out where times carry a zone")
        if "step_s" in spec:
            return self._steps(column, spec)
        if "epoch" in spec:
            if spec["epoch"] not in _EPOCH_US:
                raise self._wrong(("time", "epoch"), f"epoch is {spec['epoch']!r}", "s, ms or us")
            return _epoch(column, _EPOCH_US[spec["epoch"]])
        return _clock(column, spec.get("format"), zone)

    def _steps(self, column: str, spec: dict[str, Any]) -> Callable[[Row], object]:
        origin = spec.get("origin")
        if isinstance(origin, str):
            try:
                origin = datetime.fromisoformat(origin)
            except ValueError:
                origin = None
        if not isinstance(origin, datetime) or not isinstance(spec["step_s"], int | float):
            raise self._wrong(("time",), "step_s needs a number and an origin", "origin: 2020-01-01T00:00:00Z")
        start = origin if origin.tzinfo else origin.replace(tzinfo=UTC)
        step_s = float(spec["step_s"])

        def at(row: Row) -> object:
            value = _number(row.get(column))
            if value is None or not math.isfinite(value) or abs(value * step_s) > 1e10:
                raise refuse(column, row.get(column), "a step number is needed", "time")
            return start + timedelta(seconds=value * step_s)

        return at

    def _label(self, raw: Any) -> LabelRule:
        spec = self._known(("label",), raw, ("column", "fraud", "good", "delay"))
        if not spec.get("fraud") or "column" not in spec:
            raise self._wrong(
                ("label",), "label needs column and fraud", "label: {column: X, fraud: [1], good: [0], delay: 7d}"
            )
        values = {key: spec.get(key, []) for key in ("fraud", "good")}
        sets = {
            key: frozenset(
                t for v in (value if isinstance(value, list) else [value]) if (t := plain_text(v)) is not None
            )
            for key, value in values.items()
        }
        delay_us = duration_us(spec.get("delay", "0"), f"{self._path}:{self._lines.get(('label', 'delay'), 1)}: delay")
        return LabelRule(self._column(("label", "column"), spec["column"]), sets["fraud"], sets["good"], delay_us)


def _number(value: Any) -> Any:
    if value is None or value == "" or isinstance(value, int | float):
        return None if value == "" else value
    try:
        return float(str(value))
    except ValueError:
        return value


def _whole(value: Any) -> Any:
    number = _number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _epoch(column: str, unit_us: int) -> Callable[[Row], object]:
    def at(row: Row) -> object:
        value = _number(row.get(column))
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) * unit_us < 2**62:
            raise refuse(column, row.get(column), "a number of seconds, ms or us since 1970 is needed", "time")
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=round(value * unit_us))

    return at


def _clock(column: str, pattern: str | None, zone: str | None) -> Callable[[Row], object]:
    def at(row: Row) -> object:
        value = row.get(column)
        if isinstance(value, str):
            try:
                value = datetime.strptime(value, pattern) if pattern else datetime.fromisoformat(value.strip())
            except ValueError:
                raise refuse(
                    column, value, f"a time like {pattern or '2026-05-01T12:00:00'} is needed", "time"
                ) from None
        if isinstance(value, datetime) and value.tzinfo is None and zone == "UTC":
            value = value.replace(tzinfo=UTC)
        return value

    return at
