"""People's files in our terms: a small YAML from columns to event fields (docs/mapping.md is its manual)."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest import cells
from ingest.cells import Reader, Row, TimeReader
from ingest.events import INTEGER_FIELDS, OUTCOMES, TEXT_FIELDS, EventDecoder
from ingest.mapping_keys import At, Keys
from ingest.mapping_parts import (
    LabelRule,
    amount_readers,
    check_code,
    entity_kinds,
    file_form,
    label_rule,
    time_columns,
    time_reader,
)
from ingest.mapping_yaml import LARGEST, read_yaml
from ingest.values import MAX_ATTRIBUTES, MAX_ID, MAX_TEXT, check_country, check_integer, check_number, check_text, show
from ringwatch.errors import BadInput
from ringwatch.model import TYPE_CODES, Event, Kind, Label

_TOP = ("format", "delimiter", "columns", "kinds", "type", "event_id", "time", "entities", "amount", "fields",
        "constants", "attributes", "label")  # fmt: skip
_NUMBERS = ("lat", "lon", *INTEGER_FIELDS)
_FIELDS = (*TEXT_FIELDS, *_NUMBERS, "outcome", "country", "currency")
_SPEC = ("column", "map", "default", "prefix")
_CIRCLE = {"lat": 90.0, "lon": 180.0}
_MOST = {"attributes": 64}


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
    tokens: dict[str, int]
    """Entity kind that leaves the door only as a keyed token -> its line."""

    def check_columns(self, present: Sequence[str], file: str = "the file") -> None:
        """Raises BadInput naming the mapping's line when the file lacks a column, or has it twice."""
        for column, line in self.columns.items():
            if column not in present:
                near = difflib.get_close_matches(column, present, n=3, cutoff=0.5)
                names = [show(name, quote=True) for name in near or present[:30]]
                hint = f"did you mean {' or '.join(names)}?" if near else f"the file has: {', '.join(names) or 'none'}"
                raise BadInput(
                    f"{self.path}:{line}: {file} has no column {show(column, quote=True)}", hint=hint, line=line
                )
            if present.count(column) > 1:
                message = f"{self.path}:{line}: {file} has more than one column {show(column, quote=True)}"
                raise BadInput(message, hint="rename one of them, or list all names under columns", line=line)

    def line_of(self, field: str) -> int:
        """The line that a refusal's field goes back to: a column's or an event field's."""
        if field in self.columns:
            return self.columns[field]
        if field == " ".join(self.time_columns):
            return self.lines["at"]
        return self.lines.get(field.removeprefix("entities.").split(".")[0], 1)

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
        with path.open("rb") as file:
            text = file.read(4 * LARGEST + 1).decode("utf-8-sig")
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
        self._content, self._path = content, path
        self._keys = Keys(lines, path)
        self._tokens: dict[str, int] = {}

    def build(self) -> Mapping:
        keys = self._keys
        c = keys.under((), self._content, _TOP)
        for needed, example in (
            ("type", "type: payment"),
            ("time", "time: WHEN"),
            ("entities", "entities: {user: WHO}"),
        ):
            if c.get(needed) is None:
                raise keys.wrong((needed,), f"{needed} is missing", f"a line such as `{example}` is needed")
        readers = self._readers(c)
        kinds = entity_kinds(keys, c.get("kinds"))
        form = file_form(keys, c)
        return Mapping(
            path=self._path,
            format=form.format,
            delimiter=form.delimiter,
            header=form.header,
            kinds=kinds,
            time=time_reader(keys, c["time"]),
            readers=tuple(readers.items()),
            entities=self._entities(c["entities"], kinds),
            attributes=self._attributes(c.get("attributes")),
            label=label_rule(keys, c["label"]) if c.get("label") is not None else None,
            time_columns=time_columns(keys, c["time"]),
            columns=keys.columns,
            lines=self._field_lines(),
            hash=hashlib.sha256(_canonical(c).encode("utf-8", "surrogatepass")).hexdigest()[:16],
            row_id="event_id" not in readers,
            tokens=self._tokens,
        )

    def _readers(self, c: dict[str, Any]) -> dict[str, Reader]:
        """Of every event field but time, entities and attributes."""
        keys = self._keys
        readers: dict[str, Reader] = {"type": self._type(c["type"])}
        if c.get("event_id") is not None:
            readers["event_id"] = self._field(("event_id",), "event_id", c["event_id"])
        for name, raw in keys.under(("fields",), c.get("fields"), _FIELDS).items():
            readers[name] = self._field(("fields", name), name, raw)
        for name, value in keys.under(("constants",), c.get("constants"), _FIELDS).items():
            at = ("constants", name)
            if name in readers:
                raise keys.wrong(at, f"{name} is under fields as well", "keep it in one place")
            readers[name] = cells.constant_reader(self._value(at, name, value))
        for one, other in (("lat", "lon"), ("lon", "lat")):
            if one in readers and other not in readers:
                at = next(at for at in (("fields", one), ("constants", one)) if at in keys.lines)
                raise keys.wrong(at, f"{one} is mapped and {other} is not", "map both or none")
        if c.get("amount") is not None:
            readers.update(amount_readers(keys, c["amount"], has_currency="currency" in readers))
        return readers

    def _type(self, raw: Any) -> Reader:
        at = ("type",)
        if not isinstance(raw, dict):
            return cells.constant_reader(self._value(at, "type", raw))
        self._keys.spec(at, raw, ("column", "map", "default"))
        return self._field(at, "type", raw)

    def _field(self, at: At, name: str, raw: Any) -> Reader:
        """A column, or {column, map, default, prefix}."""
        keys = self._keys
        spec = keys.spec(at, raw, _SPEC)
        columns = keys.names(at, spec.get("column"), 1 if name in _NUMBERS else 4)
        prefix = spec.get("prefix", "")
        if type(prefix) not in (str, int) or (prefix != "" and name in _NUMBERS):
            what = f"prefix is {show(prefix, quote=True)}"
            raise keys.wrong((*at, "prefix"), what, "a text is needed, and not for a number")
        read = cells.number_reader(columns[0]) if name in _NUMBERS else cells.text_reader(columns, str(prefix))
        default = self._value((*at, "default"), name, spec["default"]) if spec.get("default") is not None else None
        if "map" not in spec:
            return read if default is None else cells.default_reader(read, default)
        if not isinstance(spec["map"], dict) or not spec["map"]:
            what = f"map is {show(spec['map'], quote=True)}"
            raise keys.wrong((*at, "map"), what, "write {value: meaning, ...}")
        table = {
            cells.key_text(key) or "": None if value is None else self._value((*at, "map", str(key)), name, value)
            for key, value in spec["map"].items()
        }
        return cells.map_reader(read, columns[0], table, default, has_default="default" in spec)

    def _value(self, at: At, name: str, value: Any) -> Any:
        """A value that the mapping itself gives to a field, in its final form."""
        if name == "type":
            return self._keys.one_of(at, value, tuple(TYPE_CODES))
        if name == "outcome":
            return self._keys.one_of(at, value, OUTCOMES)
        if name == "currency":
            check_code(self._keys, at, value)
            return value
        try:
            if name in _CIRCLE:
                return check_number(value, name, _CIRCLE[name])
            if name in INTEGER_FIELDS:
                return check_integer(value, name)
            if name == "country":
                return check_country(value)
            text = value if isinstance(value, dict | list) else cells.plain_text(value)
            return check_text(text, name, _MOST.get(name, MAX_TEXT if name in TEXT_FIELDS else MAX_ID))
        except BadInput as error:
            raise self._keys.wrong(at, error.message, error.hint) from None

    def _entities(self, raw: Any, kinds: tuple[Kind, ...]) -> tuple[tuple[str, Reader], ...]:
        at = ("entities",)
        spec = self._keys.under(at, raw, tuple(kind.name for kind in kinds))
        if not spec:
            hint = "map at least one column, for example user: WHO"
            raise self._keys.wrong(at, "no entities are mapped", hint)
        return tuple((kind, self._entity((*at, kind), kind, value)) for kind, value in spec.items())

    def _entity(self, at: At, kind: str, raw: Any) -> Reader:
        """As a field; with token: true, the identifier leaves the door only as a keyed token."""
        name = f"entities.{kind}"
        if not isinstance(raw, dict) or "token" not in raw:
            return self._field(at, name, raw)
        if not isinstance(raw["token"], bool):
            what = f"token is {show(raw['token'], quote=True)}"
            raise self._keys.wrong((*at, "token"), what, "true or false is needed")
        read = self._field(at, name, {key: value for key, value in raw.items() if key != "token"})
        if not raw["token"]:
            return read
        self._tokens[kind] = self._keys.line((*at, "token"))
        return cells.secret_reader(read)

    def _attributes(self, raw: Any) -> tuple[tuple[str, Reader], ...]:
        at = ("attributes",)
        keys = self._keys
        if raw is not None and not isinstance(raw, dict | list):
            what = f"attributes is {show(raw, quote=True)}"
            raise keys.wrong(at, what, "a list of columns, or name: column, is needed")
        pairs = [(n, n) for n in raw] if isinstance(raw, list) else list((raw or {}).items())
        if len(pairs) > MAX_ATTRIBUTES:
            raise keys.wrong(at, f"attributes has {len(pairs)} names", f"at most {MAX_ATTRIBUTES} are accepted")
        found: dict[str, Reader] = {}
        for i, (given, column) in enumerate(pairs):
            here = (*at, str(i) if isinstance(raw, list) else str(given))
            read = cells.scalar_reader(keys.name(here, column))
            name = self._value(here, "attributes", given)
            if name in found:
                raise keys.wrong(here, f"attribute {show(name, quote=True)} is given twice", "take one out")
            found[name] = read
        return tuple(found.items())

    def _field_lines(self) -> dict[str, int]:
        found = {"at": self._keys.line(("time",)), "amount_minor": self._keys.line(("amount",))}
        for at, line in self._keys.lines.items():
            if len(at) == 2 and at[0] in ("fields", "constants", "entities"):
                found[at[1]] = line
            elif len(at) == 1:
                found[at[0]] = line
        return found


def _canonical(value: Any) -> str:
    """The content as one text in which the order of keys does not count."""
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{key!r}:{_canonical(v)}" for key, v in value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical, value)) + "]"
    return repr(value)


def duration_us(text: object, where: str) -> int:
    """ "7d", "36h", "10m", "5s" or "0" in microseconds. Raises BadInput that begins with `where`."""
    found = cells.duration_us(text)
    if found is None:
        raise BadInput(f"{where} is {text!r}", hint="a duration such as 7d, 36h, 10m or 0 is needed")
    return found
