"""Bytes to records: lines, CSV rows and Parquet rows, plain or gzip. A bad record never raises here.

Memory is bounded by the longest record allowed; a longer one is skipped to its next line end and reported.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from ringwatch.errors import BadInput

_BUFFER = 1 << 18
_SKIP = 1 << 20
_BATCH_ROWS = 4096
_KEPT = 8192
"""Bytes of an overlong record that are kept for the dead letter."""
_BROKEN = (OSError, EOFError, zlib.error)
_UNPARQUET = (pa.ArrowException, OSError, ValueError, OverflowError, KeyError)


class Record(msgspec.Struct):
    """One record as read: bytes, and for CSV and Parquet the row; or the reason it is neither."""

    raw: bytes
    row: dict[str, Any] | None = None
    reason: str = ""
    code: str = "invalid"


class CountingFile(io.RawIOBase):
    """Counts bytes taken from a file, for progress."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        got = self._file.read1(len(buffer)) if hasattr(self._file, "read1") else self._file.read(len(buffer))
        buffer[: len(got)] = got
        self.taken += len(got)
        return len(got)


class Lines:
    """The lines of a text file without their ends, unpacked when the file begins like gzip; lines can be put back.

    A broken gzip stream ends with one record that says so.
    """

    def __init__(self, file: IO[bytes], longest: int) -> None:
        self._counting = CountingFile(file)
        self._reader = _unpacked(io.BufferedReader(self._counting, _BUFFER))
        self._longest = longest
        self._ahead: deque[Record] = deque()
        self._first = True
        self._ended = False

    @property
    def taken(self) -> int:
        """Bytes taken from the file so far, packed."""
        return self._counting.taken

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        if self._ahead:
            return self._ahead.popleft()
        if self._ended:
            raise StopIteration
        try:
            record = self._read()
        except _BROKEN as error:
            self._ended = True
            return Record(b"", reason=f"the file breaks off here: {error}", code="truncated")
        if record is None:
            self._ended = True
            raise StopIteration
        return record

    def put_back(self, records: Sequence[Record]) -> None:
        """Records to be read next, in their order."""
        self._ahead.extendleft(reversed(records))

    def _read(self) -> Record | None:
        line = self._reader.readline(self._longest + 2)
        if not line:
            return None
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.endswith(b"\n"):
            line = line[:-2] if line.endswith(b"\r\n") else line[:-1]
            if len(line) <= self._longest:
                return Record(line)
            size = len(line)
        elif len(line) <= self._longest:
            return Record(line)
        else:
            size = len(line) + self._skip()
        return Record(
            line[:_KEPT], reason=f"a record of {size:,} bytes, at most {self._longest:,} are read", code="too_long"
        )

    def _skip(self) -> int:
        size = 0
        while more := self._reader.readline(_SKIP):
            size += len(more)
            if more.endswith(b"\n"):
                break
        return size


def _unpacked(reader: io.BufferedReader) -> io.BufferedReader:
    if reader.peek(2)[:2] == b"\x1f\x8b":
        return io.BufferedReader(gzip.GzipFile(fileobj=reader), _BUFFER)
    return reader


def csv_header(lines: Lines, delimiter: str) -> list[str]:
    """The names in the first line that is not blank; none when there is no such line, or it is not readable."""
    for record in lines:
        if record.reason:
            lines.put_back([record])
            return []
        if record.raw.strip():
            text = record.raw.decode("utf-8", "replace")
            try:
                return [name.strip() for name in next(csv.reader([text], delimiter=delimiter), [])]
            except csv.Error:
                return []
    return []


def csv_rows(lines: Lines, names: Sequence[str], delimiter: str, longest: int) -> Iterator[Record]:
    """Rows by name. A quoted field may run over lines; a quote that never closes costs its own line only."""
    if not names:
        yield from (record for record in lines if record.reason)
        return
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
        return Record(raw, reason=f"{len(cells)} cells where the header has {len(names)}")
    return Record(raw, dict(zip(names, cells, strict=True)))


def json_row(record: Record) -> dict[str, object] | None:
    """The row of a JSON Lines record; None when it has none."""
    try:
        return None if record.reason else flat(msgspec.json.decode(record.raw, type=dict))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None


def flat(row: dict[str, object]) -> dict[str, object]:
    """Objects inside as dotted keys: {"payer": {"id": 1}} has the column payer.id."""
    if not any(type(value) is dict for value in row.values()):
        return row
    found: dict[str, object] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found.update({f"{name}.{inner}": v for inner, v in flat(value).items()})
        else:
            found[name] = value
    return found


def parquet_file(path: Path) -> pq.ParquetFile:
    """Raises BadInput when the file is not whole."""
    try:
        return pq.ParquetFile(path)
    except _UNPARQUET as error:
        message = f"{path.name} is not a whole Parquet file: {str(error)[:200]}"
        raise BadInput(message, hint="copy or export it again", unreadable=True) from None


def parquet_rows(
    file: pq.ParquetFile, columns: Sequence[str], *, after: int = 0, until: int | None = None
) -> Iterator[tuple[int, Record]]:
    """(number, record) of the rows after and until a number; row groups outside are not read.

    What is unreadable of a row group is one record with the reason, numbered as its first row.
    """
    end = 0
    for group in range(file.num_row_groups):
        number, end = end, end + file.metadata.row_group(group).num_rows
        if end <= after:
            continue
        if until is not None and number >= until:
            return
        try:
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=list(columns)):
                names = batch.schema.names
                for values in zip(*[_cells(column) for column in batch.columns], strict=True):
                    number += 1
                    if until is not None and number > until:
                        return
                    if number > after:
                        yield number, Record(b"", dict(zip(names, values, strict=True)))
        except _UNPARQUET as error:
            reason = f"rows {number + 1} to {end} cannot be read: {str(error)[:200]}"
            if number >= after:
                yield number + 1, Record(b"", reason=reason, code="truncated")


def _cells(column: pa.Array) -> list[Any]:
    """Python values; a cell that has none (a broken text, a time out of range) as its bytes or whole number."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError):
        values = [_cell(scalar) for scalar in column]
    return values


def _cell(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        if hasattr(scalar, "as_buffer"):
            return scalar.as_buffer().to_pybytes()
        return scalar.value if hasattr(scalar, "value") else str(scalar.type)
