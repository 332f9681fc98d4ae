"""Port: where records come from.

A source yields chunks of items in its own order, each with the position to continue after. Reading again from a
position gives the same items again: that is what makes an interrupted ingest continue exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ringwatch.model import Item


@dataclass(frozen=True, slots=True)
class Chunk:
    items: Sequence[Item]
    """Events, labels (with the time they become known, not earlier than their event) and refusals, in source order."""
    positions: Sequence[int]
    """Record number of each item, from 1, not decreasing; a record may give an event and a label."""
    done: float | None
    """Share of the source read so far, 0..1, by bytes; None when the size is unknown (stdin)."""


class Source(Protocol):
    name: str
    """For people: the file names."""
    resumable: bool
    """Whether the identity is of the whole content, so that reading may go on where it was left. What comes through a pipe
    is read from its beginning; events seen before are recognised one by one."""

    @property
    def source_id(self) -> str:
        """Stable identity of the content and mapping; the same after a restart. The first look at it reads the content."""
        ...

    def read(self, *, after: int = 0) -> Iterator[Chunk]:
        """Chunks of the records numbered above `after`. Never raises for a bad record: that is a `Refusal`."""
        ...
