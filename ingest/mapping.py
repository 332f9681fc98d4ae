"""People's files in our terms: a small YAML from columns to event fields (docs/mapping.md is its manual)."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ingest import cells
from ingest.cells import Reader, Row, TimeReader
from ingest.currency import is_currency
from ingest.events import INTEGER_FIELDS, OUTCOMES, TEXT_FIELDS, EventDecoder
from ingest.mapping_yaml import read_yaml
from ringwatch.errors import BadInput
from ringwatch.model import BUILTIN_KINDS, MAX_KINDS, TYPE_CODES, Event, Kind, Label, LabelValue, Strength

FORMATS = ("csv", "jsonl", "parquet")
_TOP = ("format", "delimiter", "columns", "kinds", "type", "event_id", "time", "entities", "amount", "fields",
        "constants", "attributes", "label")  # fmt: skip
_NUMBERS = ("lat", "lon", *INTEGER_FIELDS)
_FIELDS = (*TEXT_FIELDS, *_NUMBERS, "outcome", "country", "currency")
_TIME = ("column", "zone", "format", "epoch", "step_s", "origin")
_SPEC = ("column", "map", "default", "prefix")
_KIND_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
At = tuple[str, ...]


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
class Mapping:
    """A checked mapping, compiled to readers of cells."""

    path: str
    format: str | None
    delimiter: str
    header: tuple[str, ...] | None
    """Column names of a CSV that has no header line."""
    kinds: tuple[Kind, ...]
    """Built-in, then declared ones."""
    time: TimeReader
    readers: tuple[tuple[str, Reader], ...]
    """Event field -> what reads it."""
    entities: tuple[tuple[str, Reader], ...]
    attributes: tuple[tuple[str, Reader], ...]
    label: LabelRule | None
    time_columns: tuple[str, ...]
    columns: dict[str, int]
    """Column -> line of the mapping that names it first."""
    lines: dict[str, int]
    """Event field -> its line."""
    hash: str
    """Of the content: comments, blanks and the order of keys do not count."""
    row_id: bool
    """No event id column: file and record number name the event."""

    def check_columns(self, present: Sequence[str]) -> None:
        """Raises BadInput naming the mapping's line when the file lacks a column, or has it twice."""
        for column, line in self.columns.items():
            if column not in present:
                near = difflib.get_close_matches(column, present, n=3, cutoff=0.5)
                names = [repr(name) for name in near or present[:30]]
                hint = f"did you mean {' or '.join(names)}?" if near else f"the file has: {', '.join(names) or 'none'}"
                raise BadInput(f"{self.path}:{line}: the file has no column {column!r}", hint=hint, line=line)
            if present.count(column) > 1:
                message = f"{self.path}:{line}: the file has more than one column {column!r}"
                raise BadInput(message, hint="rename one of them, or list all names under columns", line=line)

    def time_of(self, row: Row, naive_times: str) -> int:
        """The row's time in microseconds. Raises BadInput."""
        return self.time(row, naive_times)

    def items(self, row: Row, at_us: int, decoder: EventDecoder, row_name: str) -> tuple[Event, Label | None]:
        """The event of a row and its label, if it has one. Raises BadInput."""
        fields: dict[str, Any] = {name: read(row) for name, read in self.readers}
        if self.row_id:
            fields["event_id"] = row_name
        fields["entities"] = {kind: read(row) for kind, read in self.entities}
        if self.attributes:
            fields["attributes"] = {name: read(row) for name, read in self.attributes}
        event = decoder.from_fields(fields, at_us)
        assert isinstance(event, Event)
        rule = self.label
        if rule is None or (verdict := rule.of(row)) is None:
            return event, None
        return event, Label("event", event.event_id, verdict, event.at_us + rule.delay_us, event.tenant)


def load_mapping(path: Path) -> Mapping:
    """Read and check. Raises BadInput naming file, line and what to mend."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        message = f"mapping {path} cannot be read: {error.strerror}"
        raise BadInput(message, hint="`ringwatch map FILE` proposes one") from None
    except UnicodeDecodeError:
        raise BadInput(f"mapping {path} is not UTF-8 text", hint="is this the data file?") from None
    return parse_mapping(text, str(path))


def parse_mapping(text: str, path: str) -> Mapping:
    """As `load_mapping`, from text; `path` is its name in messages."""
    return _Builder(*read_yaml(text, path), path).build()


class _Builder:
    """Checks the content key by key, and compiles it."""

    def __init__(self, content: dict[str, Any], lines: dict[At, int], path: str) -> None:
        self._content, self._lines, self._path = content, lines, path
        self._columns: dict[str, int] = {}

    def build(self) -> Mapping:
        c = self._keys((), self._content, _TOP)
        for needed, example in (
            ("type", "type: payment"),
            ("time", "time: WHEN"),
            ("entities", "entities: {user: WHO}"),
        ):
            if c.get(needed) is None:
                raise self._wrong((needed,), f"{needed} is missing", f"a line such as `{example}` is needed")
        readers: dict[str, Reader] = {"type": self._type(c["type"])}
        if c.get("event_id") is not None:
            readers["event_id"] = cells.text_reader(self._names(("event_id",), c["event_id"]))
        for name, raw in self._keys(("fields",), c.get("fields"), _FIELDS).items():
            readers[name] = self._field(("fields", name), raw, number=name in _NUMBERS)
        for name, value in self._keys(("constants",), c.get("constants"), _FIELDS).items():
            readers[name] = self._constant(("constants", name), name, value, taken=name in readers)
        if c.get("amount") is not None:
            readers.update(self._amount(c["amount"], has_currency="currency" in readers))
        kinds = self._kinds(c.get("kinds"))
        canonical = json.dumps(c, sort_keys=True, default=str)
        return Mapping(
            path=self._path,
            format=self._one_of(("format",), c.get("format"), FORMATS),
            delimiter=self._delimiter(c.get("delimiter", ",")),
            header=self._header(c.get("columns")),
            kinds=kinds,
            time=self._time(c["time"]),
            readers=tuple(readers.items()),
            entities=self._entities(c["entities"], kinds),
            attributes=self._attributes(c.get("attributes")),
            label=self._label(c["label"]) if c.get("label") is not None else None,
            time_columns=tuple(self._names(("time",), self._spec(("time",), c["time"], _TIME).get("column"))),
            columns=self._columns,
            lines=self._field_lines(),
            hash=hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16],
            row_id="event_id" not in readers,
        )

    def _wrong(self, at: At, what: str, hint: str) -> BadInput:
        while at and at not in self._lines:
            at = at[:-1]
        line = self._lines.get(at, 1)
        return BadInput(f"{self._path}:{line}: {what}", hint=hint, line=line)

    def _keys(self, at: At, given: Any, known: Sequence[str]) -> dict[str, Any]:
        """The keys under a path, each known; nothing there is no keys."""
        if given is None:
            return {}
        if not isinstance(given, dict):
            raise self._wrong(at, f"{'.'.join(at)} is {given!r}", f"keys with values are needed: {', '.join(known)}")
        for key in given:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
                raise self._wrong((*at, str(key)), f"key {key!r} is not known", hint)
        return given

    def _one_of(self, at: At, value: Any, known: Sequence[str]) -> Any:
        if value is not None and value not in known:
            near = difflib.get_close_matches(str(value), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(known)} is needed"
            raise self._wrong(at, f"{'.'.join(at)} is {value!r}", hint)
        return value

    def _spec(self, at: At, raw: Any, known: Sequence[str]) -> dict[str, Any]:
        """A column's name or {column: name, ...}."""
        return self._keys(at, raw if isinstance(raw, dict) else {"column": raw}, known)

    def _names(self, at: At, raw: Any, most: int = 4) -> list[str]:
        """One column or a list of them, remembered as needed."""
        names = raw if isinstance(raw, list) else [raw]
        if not 0 < len(names) <= most or not all(type(n) in (str, int) for n in names):
            raise self._wrong(at, f"{'.'.join(at)} is {raw!r}", "the name of a column is needed")
        inner = (*at, "column")
        line = self._lines.get(inner, self._lines.get(at, 1))
        for name in names:
            self._columns.setdefault(str(name), line)
        return [str(name) for name in names]

    def _name(self, at: At, raw: Any) -> str:
        return self._names(at, raw, 1)[0]

    def _delimiter(self, raw: Any) -> str:
        if not isinstance(raw, str) or len(raw) != 1 or raw in '"\r\n':
            raise self._wrong(
                ("delimiter",), f"delimiter is {raw!r}", r'one character in quotes is needed: ";" or "\t"'
            )
        return raw

    def _header(self, raw: Any) -> tuple[str, ...] | None:
        if raw is None:
            return None
        if not isinstance(raw, list) or not raw or not all(type(n) in (str, int) for n in raw):
            raise self._wrong(("columns",), f"columns is {raw!r}", "a list of the names, from left to right, is needed")
        return tuple(map(str, raw))

    def _kinds(self, raw: Any) -> tuple[Kind, ...]:
        kinds = list(BUILTIN_KINDS)
        builtin = {kind.name for kind in kinds}
        if raw is not None and not isinstance(raw, dict):
            raise self._wrong(("kinds",), f"kinds is {raw!r}", "write `terminal: {strength: weak, crowded: true}`")
        for name, given in (raw or {}).items():
            at = ("kinds", str(name))
            spec = self._keys(at, given, ("strength", "crowded"))
            if not isinstance(name, str) or not _KIND_NAME.fullmatch(name) or name in builtin or name == "event":
                raise self._wrong(
                    at, f"kind {name!r} is built in or no name", "lower-case letters, digits and _ make a name"
                )
            if len(kinds) >= MAX_KINDS:
                raise self._wrong(at, f"kind {name!r} is one too many", f"{MAX_KINDS - len(builtin)} can be declared")
            strength = self._one_of((*at, "strength"), spec.get("strength", "strong"), ("strong", "weak", "none"))
            crowded = spec.get("crowded", False)
            if not isinstance(crowded, bool):
                raise self._wrong((*at, "crowded"), f"crowded is {crowded!r}", "true or false is needed")
            kinds.append(Kind(name, Strength[strength.upper()], crowded))
        return tuple(kinds)

    def _type(self, raw: Any) -> Reader:
        if not isinstance(raw, dict):
            self._one_of(("type",), raw, tuple(TYPE_CODES))
            return cells.constant_reader(raw)
        spec = self._spec(("type",), raw, ("column", "map", "default"))
        table = spec.get("map")
        for key, value in table.items() if isinstance(table, dict) else ():
            self._one_of(("type", "map", str(key)), value, tuple(TYPE_CODES))
        self._one_of(("type", "default"), spec.get("default"), tuple(TYPE_CODES))
        return self._field(("type",), raw)

    def _field(self, at: At, raw: Any, *, number: bool = False) -> Reader:
        """A column, or {column, map, default, prefix}."""
        spec = self._spec(at, raw, _SPEC)
        names = self._names(at, spec.get("column"))
        prefix = spec.get("prefix", "")
        if not isinstance(prefix, str | int):
            raise self._wrong((*at, "prefix"), f"prefix is {prefix!r}", "a text is needed")
        plain = number and len(names) == 1 and not prefix
        read = cells.number_reader(names[0]) if plain else cells.text_reader(names, str(prefix))
        if "map" not in spec:
            if "default" not in spec:
                return read
            return cells.default_reader(read, spec["default"])
        if not isinstance(spec["map"], dict) or not spec["map"]:
            raise self._wrong((*at, "map"), f"map is {spec['map']!r}", "write {value: meaning, ...}")
        table = {cells.key_text(key) or "": value for key, value in spec["map"].items()}
        return cells.map_reader(read, names[0], table, spec.get("default"), has_default="default" in spec)

    def _constant(self, at: At, name: str, value: Any, *, taken: bool) -> Reader:
        if taken or isinstance(value, dict | list):
            raise self._wrong(at, f"{name} is {value!r}", "one plain value is needed, and not under fields as well")
        if name == "currency":
            self._currency(at, value)
        if name == "outcome":
            self._one_of(at, value, OUTCOMES)
        return cells.constant_reader(value if name in _NUMBERS else cells.plain_text(value))

    def _entities(self, raw: Any, kinds: tuple[Kind, ...]) -> tuple[tuple[str, Reader], ...]:
        spec = self._keys(("entities",), raw, tuple(kind.name for kind in kinds))
        if not spec:
            raise self._wrong(("entities",), "no entities are mapped", "map at least one column, for example user: WHO")
        return tuple((kind, self._entity(("entities", kind), value)) for kind, value in spec.items())

    def _entity(self, at: At, raw: Any) -> Reader:
        """As a field; with token: true, the identifier leaves the door only as a keyed token."""
        if not isinstance(raw, dict) or "token" not in raw:
            return self._field(at, raw)
        if not isinstance(raw["token"], bool):
            raise self._wrong((*at, "token"), f"token is {raw['token']!r}", "true or false is needed")
        read = self._field(at, {key: value for key, value in raw.items() if key != "token"})
        return cells.secret_reader(read) if raw["token"] else read

    def _currency(self, at: At, value: Any) -> None:
        if not is_currency(value):
            raise self._wrong(at, f"currency is {value!r}", "an ISO 4217 code such as EUR is needed")

    def _amount(self, raw: Any, *, has_currency: bool) -> dict[str, Reader]:
        at = ("amount",)
        spec = self._spec(at, raw, ("column", "unit", "currency", "decimal", "negative"))
        minor = self._one_of((*at, "unit"), spec.get("unit", "major"), ("major", "minor")) == "minor"
        comma = self._one_of((*at, "decimal"), spec.get("decimal", "."), (".", ",")) == ","
        absolute = self._one_of((*at, "negative"), spec.get("negative", "refuse"), ("refuse", "absolute")) == "absolute"
        column = self._name(at, spec.get("column"))
        found = {
            "amount_minor" if minor else "amount": cells.amount_reader(
                column, minor=minor, comma=comma, absolute=absolute
            )
        }
        if spec.get("currency") is not None:
            self._currency((*at, "currency"), spec["currency"])
            if has_currency:
                raise self._wrong((*at, "currency"), "currency is given twice", "keep it in one place")
            found["currency"] = cells.constant_reader(spec["currency"])
        return found

    def _attributes(self, raw: Any) -> tuple[tuple[str, Reader], ...]:
        at = ("attributes",)
        if isinstance(raw, list):
            for i, name in enumerate(raw):
                self._name((*at, str(i)), name)
            raw = {str(name): name for name in raw}
        if raw is not None and not isinstance(raw, dict):
            raise self._wrong(at, f"attributes is {raw!r}", "a list of columns, or name: column, is needed")
        return tuple(
            (str(name), cells.scalar_reader(self._name((*at, str(name)), column)))
            for name, column in (raw or {}).items()
        )

    def _time(self, raw: Any) -> TimeReader:
        at = ("time",)
        spec = self._spec(at, raw, _TIME)
        ways = [key for key in ("format", "epoch", "step_s") if key in spec]
        if len(ways) > 1 or ("origin" in spec) != ("step_s" in spec):
            raise self._wrong(
                at, f"time has {', '.join(spec)}", "one of format, epoch, or step_s with origin, is needed"
            )
        names = self._names(at, spec.get("column"), 1 if "epoch" in spec or "step_s" in spec else 4)
        if "step_s" in spec:
            step_s, origin = spec["step_s"], cells.origin_of(spec["origin"])
            if type(step_s) not in (int, float) or not 0 < step_s <= 1e9:
                raise self._wrong((*at, "step_s"), f"step_s is {step_s!r}", "the seconds of one step are needed")
            if origin is None or not 1990 <= origin.year < 2100:
                raise self._wrong((*at, "origin"), f"origin is {spec['origin']!r}", "write 2020-01-01T00:00:00Z")
            return cells.step_reader(names[0], origin, float(step_s))
        if "epoch" in spec:
            unit = self._one_of((*at, "epoch"), str(spec["epoch"]), cells.EPOCH_UNITS)
            return cells.epoch_reader(names[0], unit)
        pattern = spec.get("format")
        if pattern is not None and (not isinstance(pattern, str) or "%" not in pattern):
            raise self._wrong((*at, "format"), f"format is {pattern!r}", 'a pattern such as "%d.%m.%Y %H:%M" is needed')
        return cells.clock_reader(names, pattern, self._zone((*at, "zone"), spec.get("zone")))

    def _zone(self, at: At, name: Any) -> tzinfo | None:
        if name is None or name == "UTC":
            return None if name is None else UTC
        try:
            return ZoneInfo(str(name))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            hint = "UTC or a name such as Europe/Berlin is needed"
            raise self._wrong(at, f"zone {name!r} is not known", hint) from None

    def _label(self, raw: Any) -> LabelRule:
        at = ("label",)
        spec = self._keys(at, raw, ("column", "fraud", "good", "delay"))
        if "column" not in spec or spec.get("fraud") is None:
            raise self._wrong(at, "label lacks column or fraud", "write {column: X, fraud: [1], good: [0], delay: 7d}")
        sets: dict[str, frozenset[str]] = {}
        for key in ("fraud", "good"):
            values = spec.get(key, [])
            texts = (cells.label_text(v) for v in (values if isinstance(values, list) else [values]))
            sets[key] = frozenset(text for text in texts if text is not None)
        if both := sets["fraud"] & sets["good"]:
            raise self._wrong((*at, "good"), f"{min(both)!r} is both fraud and good", "keep it in one list")
        delay_us = cells.duration_us(spec.get("delay", "0"))
        if delay_us is None:
            raise self._wrong(
                (*at, "delay"), f"delay is {spec['delay']!r}", "a duration such as 7d, 36h, 10m or 0 is needed"
            )
        return LabelRule(self._name(at, spec["column"]), sets["fraud"], sets["good"], delay_us)

    def _field_lines(self) -> dict[str, int]:
        found = {"at": self._lines.get(("time",), 1)}
        for at, line in self._lines.items():
            if len(at) == 2 and at[0] in ("fields", "constants", "entities"):
                found[at[1]] = line
            elif len(at) == 1:
                found[at[0]] = line
        return found


def duration_us(text: object, where: str) -> int:
    """ "7d", "36h", "10m", "5s" or "0" in microseconds. Raises BadInput that begins with `where`."""
    found = cells.duration_us(text)
    if found is None:
        raise BadInput(f"{where} is {text!r}", hint="a duration such as 7d, 36h, 10m or 0 is needed")
    return found
