"""Bytes of a file as they are meant: counted, and unpacked where it is gzip. What is broken ends, it never raises.

Every byte before a damage is delivered, so that the records before it are not lost; `broken` then says what is wrong.
"""

from __future__ import annotations

import io
import zlib
from typing import IO, Any

_PACKED = 1 << 16
_MAGIC = b"\x1f\x8b\x08"


class CountingFile(io.RawIOBase):
    """A file that counts the bytes taken from it, for progress."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.taken = 0
        self.broken = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            got = self._file.read1(len(buffer)) if hasattr(self._file, "read1") else self._file.read(len(buffer))
        except OSError as error:
            self.broken = error.strerror or str(error)
            return 0
        buffer[: len(got)] = got
        self.taken += len(got)
        return len(got)


class Unpacked(io.RawIOBase):
    """The content of a gzip file, of any number of members."""

    def __init__(self, file: io.BufferedReader[CountingFile]) -> None:
        self._file = file
        self._member = zlib.decompressobj(31)
        self._rest = b""
        self._begun = self._more = False
        self.broken = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        got = b""
        while not got and not self.broken and self._next_input():
            got = self._inflate(len(buffer))
        buffer[: len(got)] = got
        return len(got)

    def _next_input(self) -> bool:
        """Whether there is something to unpack; a new member is begun where one ended."""
        if not self._rest and not self._more:
            self._rest = self._file.read1(_PACKED)
        if not self._member.eof:
            if not self._rest and not self._more:
                self.broken = "the packed data is cut off"
            return bool(self._rest) or self._more
        while self._rest and not self._rest.strip(b"\0"):
            self._rest = self._file.read1(_PACKED)
        self._rest = self._rest.lstrip(b"\0")
        if not self._rest:
            return False
        while len(self._rest) < len(_MAGIC) and (more := self._file.read1(_PACKED)):
            self._rest += more
        if not self._rest.startswith(_MAGIC):
            self.broken = "what follows the packed data is not gzip"
            return False
        self._member = zlib.decompressobj(31)
        return True

    def _inflate(self, most: int) -> bytes:
        before, data = self._member.copy(), self._rest
        try:
            got = self._member.decompress(data, most)
        except zlib.error as error:
            self.broken = f"the packed data is damaged: {str(error).removeprefix('Error ')}"
            return _until_damage(before, data)
        self._rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        self._more = len(got) == most and not self._member.eof
        return got


def _until_damage(member: Any, data: bytes) -> bytes:
    """What the bytes before the damage unpack to."""
    got: list[bytes] = []
    try:
        for i in range(len(data)):
            got.append(member.decompress(data[i : i + 1]))
    except zlib.error:
        pass
    return b"".join(got)


def is_gzip(reader: io.BufferedReader[Any]) -> bool:
    return reader.peek(len(_MAGIC))[: len(_MAGIC)] == _MAGIC
