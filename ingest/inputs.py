"""What there is to read: paths to files, their formats by content, and the refusal of what cannot be events at all."""

from __future__ import annotations

import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from ingest.mapping import Mapping
from ingest.records import Lines
from ringwatch.errors import BadInput

STDIN = "-"
_CSV, _JSON = {".csv", ".tsv"}, {".jsonl", ".ndjson", ".json"}


@dataclass(frozen=True, slots=True)
class Input:
    """One file or stream."""

    path: Path
    name: str
    """Short, and unique among the inputs: rows without an id column are named by it."""
    stream: bool = False
    """Standard input or a pipe: it can be read once, and its size is not known."""

    @property
    def size(self) -> int:
        try:
            return 0 if self.stream else self.path.stat().st_size
        except OSError:
            return 0

    def open(self) -> IO[bytes]:
        """Raises BadInput when the file cannot be opened."""
        if str(self.path) == STDIN:
            return sys.stdin.buffer
        try:
            return self.path.open("rb")
        except OSError as error:
            raise unreadable(self, f"cannot be opened: {error.strerror}", "check its rights") from None

    def parts(self) -> Iterator[bytes]:
        """The whole content, piece by piece; as much of it as can be read."""
        try:
            with self.path.open("rb") as opened:
                while part := opened.read(1 << 20):
                    yield part
        except OSError:
            return

    def head(self, size: int) -> bytes:
        """The first bytes of a file; none when they cannot be read."""
        try:
            with self.path.open("rb") as opened:
                return opened.read(size)
        except OSError:
            return b""


def unreadable(file: Input, why: str, hint: str) -> BadInput:
    """A file that gives no records at all."""
    return BadInput(f"{file.path} {why}", hint=hint, unreadable=True)


def find_inputs(paths: Sequence[str]) -> list[Input]:
    """Files in the order given, folders as their files by path, "-" as standard input. Raises BadInput."""
    found: list[tuple[Path, bool]] = []
    for text in paths:
        path = Path(text)
        if text == STDIN:
            found.append((path, True))
        elif path.is_dir():
            found += [(p, False) for p in sorted(path.rglob("*")) if _is_data(p, path)]
        elif path.exists():
            found.append((path, not stat.S_ISREG(path.stat().st_mode)))
        else:
            raise BadInput(f"there is no file {text}", hint="check the path; - reads standard input")
    if not found:
        raise BadInput("there are no files to read", hint="name files, a folder with files, or -")
    if len({path for path, _ in found}) < len(found):
        raise BadInput("a file is given twice", hint="name each file once, by itself or by its folder")
    names = Counter(path.name for path, _ in found)
    return [Input(path, path.name if names[path.name] == 1 else str(path), stream) for path, stream in found]


def _is_data(path: Path, folder: Path) -> bool:
    """Whether a file of a folder is read: hidden and empty ones (.git/HEAD, _SUCCESS) are not, nor what describes data."""
    if path.suffix.lower() in (".yaml", ".yml", ".toml", ".md"):
        return False
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.is_file() and path.stat().st_size > 0


def format_of(file: Input, mapping: Mapping | None) -> str:
    """csv, jsonl or parquet: as the mapping says, else by content and name. Raises BadInput when it cannot be read so."""
    stated = mapping.format if mapping is not None else None
    head = b"" if file.stream else file.head(64)
    for magic, what, hint in (
        (b"PK\x03\x04", "a zip archive", "unpack it first"),
        (b"(\xb5/\xfd", "packed with zstd", "unpack it, or pack it with gzip"),
        (b"BZh", "packed with bzip2", "unpack it, or pack it with gzip"),
        (b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
        (b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
    ):
        if head.startswith(magic):
            raise unreadable(file, f"is {what}", hint)
    if head.startswith(b"PAR1"):
        if stated not in (None, "parquet"):
            assert mapping is not None
            line = mapping.lines.get("format", 1)
            message = f"{mapping.path}:{line}: format is {stated!r}, {file.path} is Parquet"
            raise BadInput(message, hint="format: parquet", unreadable=True)
        return "parquet"
    if stated == "parquet" and file.stream:
        raise unreadable(file, "is a pipe, and Parquet cannot be read from one", "name the file")
    if stated == "parquet":
        raise unreadable(file, "is not Parquet", "the mapping says format: parquet; is the file whole?")
    if stated is not None:
        return stated
    if mapping is None:
        return "jsonl"
    return "csv" if file.stream else text_format(file)


def text_format(file: Input) -> str:
    """csv or jsonl, by name, else by how the first line begins."""
    suffixes = {suffix.lower() for suffix in file.path.suffixes}
    if suffixes & _JSON:
        return "jsonl"
    if suffixes & _CSV:
        return "csv"
    first = next((r.raw for r in islice(Lines(file.open(), 1 << 16), 100) if r.raw.strip()), b"")
    return "jsonl" if first.lstrip().startswith(b"{") else "csv"
