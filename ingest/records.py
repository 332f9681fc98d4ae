"""Bytes to records: lines, CSV rows and JSON objects, plain or gzip. A bad record never raises here.

Memory is bounded by the longest record allowed; a longer one is skipped to its next line end and reported.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO, Any

import msgspec

from ingest.unpack import CountingFile, Unpacked, is_gzip
from ingest.values import show
from ringwatch.errors import BadInput

_BUFFER = 1 << 18
_SKIP = 1 << 20
_KEPT = 8192
"""Bytes of an overlong record that are kept for the dead letter."""
_HEADER_LINES = 20
_DEEPEST = 16
"""Objects inside objects that become dotted columns; deeper ones stay values."""


class Record(msgspec.Struct):
    """One record as read: bytes, and for CSV and Parquet the row; or the reason it is neither."""

    raw: bytes
    row: dict[str, Any] | None = None
    reason: str = ""
    code: str = "invalid"
    field: str = ""
    """What of the mapping the reason goes back to."""


class Lines:
    """The lines of a text file without their ends, unpacked when the file begins like gzip; lines can be put back.

    A file that breaks off ends with one record that says so, with the bytes of the line that was not finished.
    """

    def __init__(self, file: IO[bytes], longest: int) -> None:
        self._counting = CountingFile(file)
        self._plain = io.BufferedReader(self._counting, _BUFFER)
        self._reader: io.BufferedReader[Any] = self._plain
        self._unpacked: Unpacked | None = None
        self._longest = longest
        self._ahead: deque[Record] = deque()
        self._first = True
        self._ended = False

    @property
    def taken(self) -> int:
        """Bytes taken from the file so far, packed."""
        return self._counting.taken

    @property
    def _broken(self) -> str:
        return self._counting.broken or (self._unpacked.broken if self._unpacked is not None else "")

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        if self._ahead:
            return self._ahead.popleft()
        record = None if self._ended else self._read()
        if record is None:
            raise StopIteration
        return record

    def put_back(self, records: Sequence[Record]) -> None:
        """Records to be read next, in their order."""
        self._ahead.extendleft(reversed(records))

    def _read(self) -> Record | None:
        if self._first and is_gzip(self._plain):
            self._unpacked = Unpacked(self._plain)
            self._reader = io.BufferedReader(self._unpacked, _BUFFER)
        line = self._reader.readline(self._longest + 2)
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.endswith(b"\n"):
            line = line[:-2] if line.endswith(b"\r\n") else line[:-1]
            return Record(line) if len(line) <= self._longest else self._too_long(line, len(line))
        if len(line) > self._longest:
            return self._too_long(line, len(line) + self._skip())
        self._ended = True
        if broken := self._broken:
            return Record(line, reason=f"the file breaks off here: {broken}", code="truncated")
        return Record(line) if line else None

    def _too_long(self, line: bytes, size: int) -> Record:
        reason = f"a record of {size:,} bytes, at most {self._longest:,} are read: RINGWATCH_MAX_RECORD_BYTES"
        return Record(line[:_KEPT], reason=reason, code="too_long")

    def _skip(self) -> int:
        size = 0
        while more := self._reader.readline(_SKIP):
            size += len(more)
            if more.endswith(b"\n"):
                break
        return size


def csv_header(lines: Lines, delimiter: str, path: str) -> list[str]:
    """The names in the first line that is not blank; none when there is no such line. Raises BadInput(unreadable)."""
    for record in lines:
        if record.reason:
            raise BadInput(f"{path}: its header is no header: {record.reason}", hint="is it whole?", unreadable=True)
        if record.raw.strip():
            return _header_names(record.raw, lines, delimiter, path)
    return []


def _header_names(raw: bytes, lines: Lines, delimiter: str, path: str) -> list[str]:
    more = 0
    while raw.count(b'"') % 2 and more < _HEADER_LINES and (record := next(lines, None)) is not None:
        raw, more = raw + b"\n" + record.raw, more + 1
    try:
        if raw.count(b'"') % 2:
            raise csv.Error("a quote is not closed")
        return [name.strip() for name in next(csv.reader([raw.decode("utf-8", "replace")], delimiter=delimiter), [])]
    except csv.Error as error:
        message = f"{path}: its header cannot be read: {error}: {show(raw.decode('utf-8', 'replace'), quote=True)}"
        raise BadInput(message, hint="mend the first line", unreadable=True) from None


def csv_rows(lines: Lines, names: Sequence[str], delimiter: str, longest: int) -> Iterator[Record]:
    """Rows by name. A quoted field may run over lines; a quote that never closes costs its own line only."""
    width = len(names)
    for record in lines:
        raw = record.raw
        if record.reason:
            yield record
        elif b'"' in raw:
            yield _quoted(record, lines, names, delimiter, longest)
        elif raw:
            try:
                cells = raw.decode().split(delimiter)
            except UnicodeDecodeError:
                yield _row(raw, names, delimiter)
                continue
            if len(cells) == width:
                yield Record(raw, dict(zip(names, cells, strict=True)))
            else:
                yield _row(raw, names, delimiter)


def _quoted(record: Record, lines: Lines, names: Sequence[str], delimiter: str, longest: int) -> Record:
    joined, size, quotes = [record], len(record.raw), record.raw.count(b'"')
    while quotes % 2 and size <= longest:
        more = next(lines, None)
        if more is None:
            break
        if more.reason:
            lines.put_back([more])
            break
        joined.append(more)
        size += len(more.raw) + 1
        quotes += more.raw.count(b'"')
    if len(joined) == 1:
        return _row(record.raw, names, delimiter)
    whole = _row(b"\n".join(r.raw for r in joined), names, delimiter) if quotes % 2 == 0 and size <= longest else None
    if whole is not None and whole.row is not None:
        return whole
    lines.put_back(joined[1:])
    alone = _row(record.raw, names, delimiter)
    if alone.row is None and alone.code != "encoding":
        alone.reason += ", or a quote is not closed"
    return alone


def _row(raw: bytes, names: Sequence[str], delimiter: str) -> Record:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return Record(raw, reason=f"byte {error.start + 1} of the record is not UTF-8", code="encoding")
    try:
        cells = next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error as error:
        return Record(raw, reason=f"not CSV: {error}")
    if len(cells) != len(names):
        reason = f"{len(cells)} cells where the header has {len(names)}"
        return Record(raw, reason=reason, field="columns")
    return Record(raw, dict(zip(names, cells, strict=True)))


def json_row(record: Record) -> dict[str, object] | None:
    """The row of a JSON Lines record; None when it has none."""
    try:
        return None if record.reason else flat(msgspec.json.decode(record.raw, type=dict))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """Objects inside as dotted keys: {"payer": {"id": 1}} has the column payer.id."""
    if not any(type(value) is dict for value in row.values()):
        return row
    found: dict[str, Any] = {}
    _flatten(found, "", row, _DEEPEST)
    return found


def _flatten(found: dict[str, Any], prefix: str, row: dict[str, Any], depth: int) -> None:
    for name, value in row.items():
        if type(value) is dict and depth:
            _flatten(found, f"{prefix}{name}.", value, depth - 1)
        else:
            found[prefix + name] = value
