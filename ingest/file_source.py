"""Source: files, folders and standard input, native JSON Lines or anything a mapping describes."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from ingest.card_numbers import CARD_GAPS, MASK, holds_card_number, mask_card_numbers
from ingest.cells import label_text
from ingest.events import EventDecoder, TimeGuard
from ingest.inputs import Input, find_inputs, format_of
from ingest.mapping import Mapping
from ingest.mapping_parts import LabelRule
from ingest.parquet import ParquetFile
from ingest.records import Lines, Record, csv_header, csv_rows, flat, json_row
from ingest.source import Chunk
from ingest.values import show
from ringwatch.errors import BadInput
from ringwatch.model import Event, Item, Refusal

RAW_LIMIT = 65_536
"""Bytes of a refused record that are kept."""
_SAMPLE = 100
_ENOUGH = 20
"""Records of the sample that must be there, and all be refused, to call the mapping wrong."""
_SLACK = 256
"""Bytes after the cut that are looked at for a card number which the cut would halve."""
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


@dataclass(frozen=True, slots=True)
class Reading:
    """How records are read, whatever their source."""

    mapping: Mapping | None
    decoder: EventDecoder
    max_record_bytes: int = 1_000_000
    chunk_records: int = 2000
    future_jump_us: int = 366 * 86_400 * 1_000_000


def open_source(paths: Sequence[str], reading: Reading) -> FileSource:
    """Files in the order given, folders as their files by path, "-" as standard input.

    Raises BadInput before the first event when a path does not exist, the first file is unreadable as a whole, the
    mapping does not fit a file's columns, or a sample of the records is refused to the last one.
    """
    source = FileSource(find_inputs(paths), reading)
    source.check()
    return source


class FileSource:
    """Records numbered through all inputs from 1. Reading again from a position gives the same items.

    The time guard starts at the median time of a sample, so one wild first record is refused instead of all others; a
    pipe cannot be sampled, there it starts at the first record. After a resume it is rebuilt from the times skipped.
    A text record's number is its line for JSON Lines, its row for CSV.
    """

    def __init__(self, inputs: Sequence[Input], reading: Reading) -> None:
        self._inputs = inputs
        self._reading = reading
        self._streams: dict[str, Lines] = {}
        self._start_us: int | None = None
        self.name = ", ".join(str(f.path) for f in inputs[:3]) + (
            f" and {len(inputs) - 3} more" if len(inputs) > 3 else ""
        )
        self.resumable = not any(file.stream for file in inputs)

    @cached_property
    def source_id(self) -> str:
        """Hash of names, contents and mapping; of a pipe the first record stands for its content."""
        digest = hashlib.blake2b((self._reading.mapping.hash if self._reading.mapping else "native").encode())
        for file in self._inputs:
            digest.update(f"\0{file.name}\0{file.size}\0".encode("utf-8", "surrogateescape"))
            if file.stream:
                lines = self._lines(file)
                head = list(islice(lines, 2 if self._kind(file) == "csv" else 1))
                lines.put_back(head)
                digest.update(b"\n".join(record.raw for record in head))
            else:
                for part in file.parts():
                    digest.update(part)
        return digest.hexdigest()[:32]

    def _kind(self, file: Input) -> str:
        return format_of(file, self._reading.mapping)

    def _lines(self, file: Input) -> Lines:
        if not file.stream:
            return Lines(file.open(), self._reading.max_record_bytes)
        key = str(file.path)
        if key not in self._streams:
            self._streams[key] = Lines(file.open(), self._reading.max_record_bytes)
        return self._streams[key]

    def check(self) -> None:
        """Everything that can be told before the first event. Raises BadInput."""
        self._check_tokens()
        for i, file in enumerate(self._inputs):
            if file.stream:
                continue
            try:
                self._check_columns(file)
            except BadInput as error:
                if i == 0 or not error.context.get("unreadable"):
                    raise
        if not self._inputs[0].stream:
            self._check_sample(self._inputs[0])

    def _check_tokens(self) -> None:
        mapping = self._reading.mapping
        if mapping is None or self._reading.decoder.rules.token_key:
            return
        for kind, line in mapping.tokens.items():
            message = f"{mapping.path}:{line}: {kind} is to become a token, and there is no key"
            raise BadInput(message, hint="set RINGWATCH_TOKEN_KEY", line=line)

    def _check_columns(self, file: Input) -> None:
        mapping, kind = self._reading.mapping, self._kind(file)
        if mapping is None:
            if kind == "parquet":
                hint = f"`ringwatch map {file.path.name}` proposes a mapping"
                raise BadInput(f"{file.path} is Parquet: a mapping is needed", hint=hint)
        elif kind == "parquet":
            mapping.check_columns(ParquetFile(file.path).columns, file.name)
        elif kind == "csv":
            names = mapping.header or csv_header(self._lines(file), mapping.delimiter, str(file.path))
            if names:
                mapping.check_columns(list(names), file.name)

    def _check_sample(self, file: Input) -> None:
        """The first records, for the time to start at and for a mapping that fits no record."""
        mapping = self._reading.mapping
        guard = TimeGuard(1 << 62)
        refused: Counter[tuple[str, str]] = Counter()
        first: dict[tuple[str, str], BadInput] = {}
        times: list[int] = []
        sample = [record for _, record, _ in islice(self._records(file, 0), _SAMPLE)]
        if mapping is not None and self._kind(file) == "jsonl":
            self._check_keys(mapping, [row for record in sample if (row := json_row(record)) is not None])
        for record in sample:
            try:
                times += (item.at_us for item in self._take(record, file.name, guard) if isinstance(item, Event))
            except BadInput as error:
                about = (str(error.context.get("field", "")), str(error.context.get("code", "")))
                refused[about] += 1
                first.setdefault(about, error)
        if mapping is not None and mapping.label is not None:
            self._check_label(mapping, mapping.label, sample, file)
        if times:
            self._start_us = sorted(times)[(len(times) - 1) // 2]
        if refused.total() == len(sample) >= _ENOUGH:
            about = refused.most_common(1)[0][0]
            raise self._fits_nothing(file, about[0] or "format", first[about], len(sample))

    def _check_label(self, mapping: Mapping, rule: LabelRule, sample: Sequence[Record], file: Input) -> None:
        """Both sorts of labels are named, and neither is what stands in the column: a slip."""
        rows = [r.row if r.row is not None else json_row(r) or {} for r in sample if not r.reason]
        values = {text for row in rows if (text := label_text(row.get(rule.column))) is not None}
        if rule.good and len(sample) >= _ENOUGH and values and not values & (rule.fraud | rule.good):
            shown = ", ".join(show(value, quote=True) for value in sorted(values)[:5])
            message = f"{mapping.path}:{mapping.line_of('label')}: no value of {rule.column!r} in {file.name} is fraud or good"
            raise BadInput(message, hint=f"it holds {shown}", line=mapping.line_of("label"))

    def _fits_nothing(self, file: Input, field: str, error: BadInput, count: int) -> BadInput:
        mapping = self._reading.mapping
        if mapping is None:
            hint = f"{error.hint}; if the file has other columns, `ringwatch map {file.path.name}` proposes a mapping"
            return BadInput(f"{file.path}: all of the first {count} records are refused: {error.message}", hint=hint)
        line = mapping.line_of(field)
        message = f"{mapping.path}:{line}: all of the first {count} records are refused, mostly: {error.message}"
        hint = error.hint
        if "time zone" in hint:
            hint = "add zone: UTC, or the zone the times are in, to the mapping's time"
        return BadInput(message, hint=hint, line=line)

    def _check_keys(self, mapping: Mapping, rows: Sequence[dict[str, object]]) -> None:
        """JSON records may lack a key; a key that no record of the sample has and that looks like another is a slip."""
        present = list(dict.fromkeys(name for row in rows for name in row))
        needed = set(mapping.time_columns)
        for column in mapping.columns:
            if rows and column not in present:
                unused = [name for name in present if name not in mapping.columns]
                if column in needed or difflib.get_close_matches(column, unused, n=1):
                    mapping.check_columns([*present, *(set(mapping.columns) - {column})])

    def read(self, *, after: int = 0) -> Iterator[Chunk]:
        """Chunks of the records above `after`. Raises BadInput only for a pipe whose header does not fit."""
        guard = TimeGuard(self._reading.future_jump_us, start_us=self._start_us)
        items: list[Item] = []
        positions: list[int] = []
        sizes = [file.size for file in self._inputs]
        total = sum(sizes)
        base = passed = 0
        for file, size in zip(self._inputs, sizes, strict=True):
            last, source = base, str(file.path)
            name = f"{file.name}-{self.source_id[:12]}" if file.stream else file.name
            for number, record, taken in self._readable(file, max(0, after - base)):
                last = base + number
                if last <= after:
                    self._pass_by(record, guard)
                    continue
                try:
                    made: Sequence[Item] = self._take(record, f"{name}:{number}", guard)
                except BadInput as error:
                    made = (_refusal(record, error, source, number),)
                items += made
                positions += [last] * len(made)
                if len(items) >= self._reading.chunk_records:
                    yield Chunk(items, positions, min(1.0, (passed + min(taken, size)) / total) if total else None)
                    items, positions = [], []
            base, passed = last, passed + size
        if items:
            yield Chunk(items, positions, 1.0 if total else None)

    def _readable(self, file: Input, after: int) -> Iterator[tuple[int, Record, int]]:
        """As `_records`; a file that is unreadable as a whole is one record with the reason."""
        try:
            yield from self._records(file, after)
        except BadInput as error:
            if file.stream or not error.context.get("unreadable"):
                raise
            yield 1, Record(b"", reason=str(error), code="unreadable"), file.size

    def _records(self, file: Input, after: int) -> Iterator[tuple[int, Record, int]]:
        """(number in the file, record, packed bytes taken); of the first `after` records maybe only times."""
        mapping, kind = self._reading.mapping, self._kind(file)
        if kind == "parquet":
            assert mapping is not None
            yield from _parquet_records(file, mapping, after)
            return
        lines = self._lines(file)
        if kind == "jsonl" or mapping is None:
            for number, record in enumerate(lines, 1):
                if record.reason or record.raw.strip():
                    yield number, record, lines.taken
            return
        names = list(mapping.header) if mapping.header else csv_header(lines, mapping.delimiter, str(file.path))
        if file.stream and names:
            mapping.check_columns(names, file.name)
        for number, record in enumerate(csv_rows(lines, names, mapping.delimiter, self._reading.max_record_bytes), 1):
            yield number, record, lines.taken

    def _take(self, record: Record, row_name: str, guard: TimeGuard) -> Sequence[Item]:
        """The items of a record. Raises BadInput when it has none."""
        if record.reason:
            raise BadInput(record.reason, code=record.code, field=record.field)
        mapping, decoder = self._reading.mapping, self._reading.decoder
        if mapping is None:
            fields = decoder.parse(record.raw)
            at_us = decoder.time_of(fields)
            if at_us is not None:
                guard.check(at_us)
            return (decoder.from_fields(fields, at_us),)
        row = record.row if record.row is not None else flat(decoder.parse(record.raw))
        at_us = mapping.time_of(row, decoder.rules.naive_times)
        guard.check(at_us)
        event, label = mapping.items(row, at_us, decoder, row_name)
        return (event,) if label is None else (event, label)

    def _pass_by(self, record: Record, guard: TimeGuard) -> None:
        """A record read before: only its time counts."""
        mapping, decoder = self._reading.mapping, self._reading.decoder
        if record.reason:
            return
        try:
            if mapping is None:
                at_us = decoder.time_of(decoder.parse(record.raw))
            else:
                row = record.row if record.row is not None else flat(decoder.parse(record.raw))
                at_us = mapping.time_of(row, decoder.rules.naive_times)
            if at_us is not None:
                guard.check(at_us)
        except BadInput:
            return


def _parquet_records(file: Input, mapping: Mapping, after: int) -> Iterator[tuple[int, Record, int]]:
    opened, columns = ParquetFile(file.path), list(mapping.columns)
    rows, size = max(1, opened.rows), file.size
    if after:
        for number, record in opened.read(columns, until=after, only=mapping.time_columns):
            yield number, record, 0
    for number, record in opened.read(columns, after=after):
        yield number, record, size * number // rows


def _refusal(record: Record, error: BadInput, source: str, number: int) -> Refusal:
    code = str(error.context.get("code", "invalid"))
    raw = record.raw or (_row_bytes(record.row) if record.row is not None else b"")
    return Refusal(mask_card_numbers(str(error)), source, number, safe_bytes(raw, code), code)


def _row_bytes(row: dict[str, object]) -> bytes:
    """A row that never was text, as a JSON object; bytes that are no text as escapes."""
    return json.dumps(row, default=_as_text, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _as_text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def safe_bytes(raw: bytes, code: str) -> bytes:
    """A refused record's bytes, cut, card numbers masked; when the card number is not found in them, all digits are."""
    text = raw[: RAW_LIMIT + _SLACK].decode("utf-8", "surrogateescape")
    if "\\u" in text and holds_card_number(plain := _ESCAPE.sub(_unescaped, text)):
        text = plain
    masked = mask_card_numbers(text)
    if code == "card_number" and MASK not in masked:
        masked = re.sub(r"\d", "#", text)
    safe = masked.encode("utf-8", "surrogateescape")
    return safe[:RAW_LIMIT] if len(raw) <= RAW_LIMIT + _SLACK else safe[:-_SLACK][:RAW_LIMIT]


def _unescaped(match: re.Match[str]) -> str:
    """A JSON escape of a digit, or of what may stand between the digits of a card number; others stay."""
    character = chr(int(match[1], 16))
    return character if character.isdecimal() or character in CARD_GAPS else match[0]
