"""Source: files, folders and standard input, native JSON Lines or anything a mapping describes."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ingest.card_numbers import mask_card_numbers
from ingest.events import EventDecoder, TimeGuard
from ingest.mapping import Mapping
from ingest.records import (
    CountingFile,
    Record,
    csv_header,
    csv_records,
    lines,
    open_bytes,
    parquet_file,
    parquet_records,
)
from ingest.source import Chunk
from ringwatch.errors import BadInput
from ringwatch.model import Event, Item, Refusal

_RAW_LIMIT = 4096
_HEAD_BYTES = 65_536
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Reading:
    """How records are read, whatever their source."""

    mapping: Mapping | None
    decoder: EventDecoder
    max_record_bytes: int = 1_000_000
    chunk_records: int = 2000
    future_jump_us: int = 366 * 86_400 * 1_000_000


def open_source(paths: Sequence[str], reading: Reading) -> FileSource:
    """Files in the order given, folders as their files by name, "-" as standard input.

    Raises BadInput before the first event when a path does not exist or the mapping does not fit a file.
    """
    files: list[Path] = []
    for text in paths:
        path = Path(text)
        if text == STDIN:
            files.append(path)
        elif path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        elif path.exists():
            files.append(path)
        else:
            raise BadInput(f"there is no file {text}", hint="check the path; - reads standard input")
    if not files:
        raise BadInput("there are no files to read", hint="name files, a folder with files, or -")
    source = FileSource(files, reading)
    source.check()
    return source


class FileSource:
    """Records numbered through all files from 1. Reading again from a position gives the same items."""

    def __init__(self, files: Sequence[Path], reading: Reading) -> None:
        self._files = files
        self._reading = reading
        self.name = ", ".join(str(f) for f in files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        self.source_id = self._identity()

    def _identity(self) -> str:
        digest = hashlib.sha256((self._reading.mapping.hash if self._reading.mapping else "native").encode())
        for file in self._files:
            digest.update(f"\0{file.name}\0".encode())
            if str(file) != STDIN:
                digest.update(str(file.stat().st_size).encode())
                with file.open("rb") as f:
                    digest.update(f.read(_HEAD_BYTES))
        return digest.hexdigest()[:32]

    def check(self) -> None:
        """Every file's columns against the mapping, before the first event."""
        mapping = self._reading.mapping
        for file in self._files:
            if str(file) == STDIN:
                continue
            kind = self._format(file)
            if mapping is None:
                if kind != "jsonl":
                    raise BadInput(
                        f"{file.name} is {kind}, not native JSON Lines",
                        hint=f"`ringwatch map {file.name}` proposes a mapping",
                    )
                continue
            if kind == "parquet":
                mapping.check_columns(parquet_file(file).schema_arrow.names)
            elif kind == "csv" and mapping.header is None:
                header = csv_header(file, mapping.delimiter, self._reading.max_record_bytes)
                if header:
                    mapping.check_columns(header)
            elif kind == "csv" and mapping.header is not None:
                mapping.check_columns(list(mapping.header))

    def _format(self, file: Path) -> str:
        mapping = self._reading.mapping
        if mapping is not None and mapping.format is not None:
            return mapping.format
        suffixes = [s.lower() for s in file.suffixes]
        for suffix, kind in ((".parquet", "parquet"), (".csv", "csv"), (".tsv", "csv")):
            if suffix in suffixes:
                return kind
        return "jsonl"

    def read(self, *, after: int = 0) -> Iterator[Chunk]:
        guard = TimeGuard(self._reading.future_jump_us)
        items: list[Item] = []
        positions: list[int] = []
        read, base = 0, 0
        sizes = [0 if str(f) == STDIN else f.stat().st_size for f in self._files]
        total, passed = sum(sizes), 0
        for file, size in zip(self._files, sizes, strict=True):
            last = base
            for number, record, taken in self._records(file):
                last = base + number
                if record.row is None and not record.reason and not record.raw:
                    continue
                made = self._items(record, file, number, guard)
                if last <= after:
                    continue
                items += made
                positions += [last] * len(made)
                read += 1
                if read % self._reading.chunk_records == 0:
                    yield Chunk(items, positions, (passed + min(taken, size)) / total if total else None)
                    items, positions = [], []
            base, passed = last, passed + size
        if items:
            yield Chunk(items, positions, 1.0 if total else None)

    def _records(self, file: Path) -> Iterator[tuple[int, Record, int]]:
        """(number in the file, record, bytes taken)."""
        mapping, longest = self._reading.mapping, self._reading.max_record_bytes
        if str(file) == STDIN:
            counting = CountingFile(sys.stdin.buffer)
            kind = mapping.format if mapping is not None and mapping.format else "jsonl" if mapping is None else "csv"
        else:
            kind = self._format(file)
            if kind == "parquet":
                yield from self._parquet(file)
                return
            counting = CountingFile(file.open("rb"))
        reader = open_bytes(counting)
        if kind == "csv" and mapping is not None:
            header = list(mapping.header) if mapping.header else None
            records = csv_records(reader, header, mapping.delimiter, longest)
        else:
            records = lines(reader, longest)
        for number, record in enumerate(records, 1):
            yield number, record, counting.taken

    def _parquet(self, file: Path) -> Iterator[tuple[int, Record, int]]:
        mapping = self._reading.mapping
        assert mapping is not None
        opened = parquet_file(file)
        rows, size = max(1, opened.metadata.num_rows), file.stat().st_size
        for number, record in parquet_records(opened, list(mapping.columns), 0):
            yield number, record, size * number // rows

    def _items(self, record: Record, file: Path, number: int, guard: TimeGuard) -> list[Item]:
        source = str(file)
        if record.reason:
            return [_refusal(record, record.reason, record.code, source, number)]
        try:
            if self._reading.mapping is None:
                item = self._reading.decoder.decode(record.raw)
                if isinstance(item, Event):
                    guard.check(item)
                return [item]
            row = record.row if record.row is not None else msgspec.json.decode(record.raw, type=dict)
            event, label = self._reading.mapping.items(row, self._reading.decoder, f"{file.name}:{number}")
            guard.check(event)
        except BadInput as error:
            return [_refusal(record, str(error), str(error.context.get("code", "invalid")), source, number)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return [_refusal(record, f"not a JSON object: {error}", "invalid", source, number)]
        return [event] if label is None else [event, label]


def _refusal(record: Record, reason: str, code: str, source: str, position: int) -> Refusal:
    raw = record.raw or (repr(record.row).encode("utf-8", "replace") if record.row is not None else b"")
    masked = mask_card_numbers(raw[:_RAW_LIMIT].decode("utf-8", "surrogateescape"))
    return Refusal(mask_card_numbers(reason), source, position, masked.encode("utf-8", "surrogateescape"), code)
