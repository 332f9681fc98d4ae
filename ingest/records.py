"""Bytes to rows: CSV, JSON Lines and Parquet, plain or gzip. Nothing here raises for a bad record.

Memory is bounded by the longest record allowed; a longer one is skipped to its next line end and reported.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ringwatch.errors import BadInput


@dataclass(frozen=True, slots=True)
class Record:
    """One record as read: its row, or the reason it has none."""

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


def open_bytes(counting: CountingFile) -> io.BufferedReader:
    """The file's bytes, unpacked when they begin like gzip."""
    reader = io.BufferedReader(counting, 1 << 18)
    if reader.peek(2)[:2] == b"\x1f\x8b":
        return io.BufferedReader(gzip.GzipFile(fileobj=reader), 1 << 18)  # type: ignore[type-var]
    return reader


def lines(reader: io.BufferedReader, longest: int) -> Iterator[Record]:
    """Lines without their end, as raw bytes; a broken gzip stream ends with one refusal."""
    while True:
        try:
            line = reader.readline(longest + 1)
            if not line:
                return
            if len(line) > longest and not line.endswith(b"\n"):
                dropped = len(line)
                while (more := reader.readline(1 << 20)) and not more.endswith(b"\n"):
                    dropped += len(more)
                dropped += len(more)
                yield Record(
                    line[:4096], reason=f"record of {dropped:,} bytes is longer than {longest:,}", code="too_long"
                )
                continue
        except (OSError, EOFError, zlib.error) as error:
            yield Record(b"", reason=f"the file breaks off here: {error}", code="truncated")
            return
        yield Record(line.rstrip(b"\r\n"))


def csv_header(path: Path, delimiter: str, longest: int) -> list[str]:
    with path.open("rb") as file:
        first = next(lines(open_bytes(CountingFile(file)), longest), None)
    if first is None or first.reason:
        return []
    text = first.raw.decode("utf-8-sig", "replace")
    return next(csv.reader([text], delimiter=delimiter), [])


def csv_records(reader: io.BufferedReader, header: list[str] | None, delimiter: str, longest: int) -> Iterator[Record]:
    """Rows by header; quoted fields may run over lines."""
    source = lines(reader, longest)
    width = len(header) if header is not None else None
    names = header
    for record in source:
        if record.reason:
            yield record
            continue
        raw = record.raw
        while raw.count(b'"') % 2 and len(raw) <= longest:
            more = next(source, None)
            if more is None:
                break
            if more.reason:
                yield more
                break
            raw += b"\n" + more.raw
        if names is None:
            names = next(csv.reader([raw.decode("utf-8-sig", "replace")], delimiter=delimiter), [])
            width = len(names)
            continue
        if raw:
            yield _csv_row(raw, names, width or 0, delimiter)


def _csv_row(raw: bytes, names: list[str], width: int, delimiter: str) -> Record:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return Record(raw, reason=f"byte {error.start + 1} is not UTF-8", code="encoding")
    try:
        cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    except csv.Error as error:
        return Record(raw, reason=f"not CSV: {error}")
    if len(cells) != width:
        return Record(raw, reason=f"{len(cells)} cells where the header has {width}")
    return Record(raw, dict(zip(names, cells, strict=True)))


def parquet_file(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path.name} is not a whole Parquet file: {error}", hint="copy or export it again") from None


def parquet_records(file: pq.ParquetFile, columns: list[str], after: int) -> Iterator[tuple[int, Record]]:
    """(number, record) of the rows above `after`; row groups before it are not read."""
    number = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if number + rows <= after:
            number += rows
            continue
        try:
            for batch in file.iter_batches(4096, row_groups=[group], columns=columns):
                names = batch.schema.names
                cells = [_cells(column) for column in batch.columns]
                for values in zip(*cells, strict=True):
                    number += 1
                    if number > after:
                        yield number, Record(b"", dict(zip(names, values, strict=True)))
        except (pa.ArrowInvalid, OSError) as error:
            number += 1
            yield number, Record(b"", reason=f"row group {group} cannot be read: {error}", code="truncated")
            return


def _cells(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column.to_pylist()  # type: ignore[no-any-return]
