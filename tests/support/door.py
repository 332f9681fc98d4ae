"""What tests of the door share: decoders, mappings and sources over real files, and what must hold of every reading."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ingest.currency import RateTable
from ingest.events import EventDecoder, EventRules
from ingest.file_source import FileSource, Reading, open_source
from ingest.mapping import Mapping, parse_mapping
from ringwatch.errors import BadInput
from ringwatch.model import BUILTIN_KINDS, Event, Item, Label, Refusal

CARDS = ("4111111111111111", "5555555555554444", "378282246310005", "6011111111111117", "3530111333300000")
"""Numbers of the networks' own test cards."""
AT = "2026-05-01T12:00:00Z"
AT_US = 1_777_636_800_000_000
DAY_0 = 20_500
"""2026-02-16, as days since 1970."""


def decoder(rates: dict[str, list[tuple[int, str]]] | None = None, **rules: Any) -> EventDecoder:
    made = EventRules(**rules)
    table = {code: [(day, Decimal(rate)) for day, rate in rows] for code, rows in (rates or {}).items()}
    return EventDecoder(made, RateTable(made.currency, table))


def mapping_of(text: str, path: str = "m.yaml") -> Mapping:
    return parse_mapping(text, path)


def reading(mapping: Mapping | str | None = None, *, longest: int = 1_000_000, chunk: int = 7, **rules: Any) -> Reading:
    if isinstance(mapping, str):
        mapping = mapping_of(mapping)
    rules.setdefault("kinds", BUILTIN_KINDS if mapping is None else mapping.kinds)
    return Reading(mapping, decoder(**rules), longest, chunk)


def source_of(path: Path, mapping: Mapping | str | None = None, **more: Any) -> FileSource:
    return open_source([str(path)], reading(mapping, **more))


@dataclass(frozen=True)
class Found:
    """Everything a source gave, in order."""

    items: list[Item]
    positions: list[int]

    @property
    def events(self) -> list[Event]:
        return [item for item in self.items if isinstance(item, Event)]

    @property
    def labels(self) -> list[Label]:
        return [item for item in self.items if isinstance(item, Label)]

    @property
    def refusals(self) -> list[Refusal]:
        return [item for item in self.items if isinstance(item, Refusal)]

    @property
    def records(self) -> int:
        return len(self.events) + len(self.refusals)

    def after(self, position: int) -> Found:
        kept = [(item, p) for item, p in zip(self.items, self.positions, strict=True) if p > position]
        return Found([item for item, _ in kept], [p for _, p in kept])


def read_all(source: FileSource, after: int = 0) -> Found:
    items: list[Item] = []
    positions: list[int] = []
    for chunk in source.read(after=after):
        assert chunk.items
        assert len(chunk.items) == len(chunk.positions)
        assert chunk.done is None or 0 <= chunk.done <= 1
        items += chunk.items
        positions += chunk.positions
    assert positions == sorted(positions)
    return Found(items, positions)


def refused(error: BadInput) -> str:
    """The whole text of an error; it is one line, and no card number is in it."""
    text = str(error)
    assert "\n" not in text
    assert not any(card in text for card in CARDS)
    return text
