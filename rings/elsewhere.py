"""Rings that another process keeps: what the ring keeper writes beside each member, and how a scorer reads it.

A row is as of the keeper's last visit, so that it lags behind the event by what the keeper lags behind the decisions;
`ring.age_s` says how old its settled part is. The event's own links are not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.columns import ResolvedLabel
from features.schema import FeatureSchema
from rings.judged import Judged
from rings.row import AGE
from rings.rules import RingAt
from ringwatch.errors import Corrupt
from ringwatch.model import MICROSECONDS, Event

NO_MARK = 2**62


class RingRow(msgspec.Struct, frozen=True, array_like=True):
    """What a scorer needs of the ring of a user."""

    ring_id: str
    columns: bytes
    """float32, little-endian: the ring block of the feature schema."""
    settled_us: int


pack_row = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(RingRow).decode
ReadRows = Callable[[str, Sequence[str]], Sequence[bytes | None]]
"""(tenant, users) -> their rows."""


class RingsElsewhere:
    """Stands where a ring keeper would; `bring` gives it the rows of the events that come next."""

    def __init__(self, schema: FeatureSchema, read: ReadRows) -> None:
        self._offset = schema.ring_offset
        self._read = read
        self._rows: list[bytes | None] = []
        self.next_mark_us: int | None = NO_MARK

    def bring(self, rows: Iterable[bytes | None]) -> None:
        """The rows of the users of the events that `apply` is asked about next, one an event."""
        self._rows = list(rows)

    def apply(self, items: Sequence[tuple[int, Any]], features: NDArray[np.float32]) -> list[RingAt | None]:
        events = [item for _, item in items if not isinstance(item, ResolvedLabel)]
        rows, self._rows = self._rows[: len(events)], self._rows[len(events) :]
        return self._fill(events, rows, features)

    def look(self, events: Sequence[Event], features: NDArray[np.float32]) -> list[RingAt | None]:
        rows = [self._read(e.tenant, [e.user])[0] if e.user is not None else None for e in events]
        return self._fill(events, rows, features)

    def _fill(
        self, events: Sequence[Event], rows: Sequence[bytes | None], features: NDArray[np.float32]
    ) -> list[RingAt | None]:
        block = features[:, self._offset :]
        block[:] = np.nan
        found: list[RingAt | None] = []
        for i, (event, raw) in enumerate(zip(events, rows, strict=True)):
            if raw is None:
                found.append(None)
                continue
            row = _row(raw)
            columns = np.frombuffer(row.columns, "<f4")
            block[i, : len(columns)] = columns
            block[i, AGE] = max(0.0, (event.at_us - row.settled_us) / MICROSECONDS)
            found.append(RingAt(row.ring_id, ()))
        return found

    def advance(self, at_us: int) -> None:
        """Nothing: the keeper does it."""

    def learn(self, flagged: Sequence[tuple[str, str, tuple[str, ...]]]) -> None:
        """Nothing: the keeper learns from the decisions."""

    def judge(self, judged: Sequence[Judged]) -> None:
        """Nothing: the keeper is told, too."""

    def accounts_on(self, tenant: str, kind: str, entity: str, up_to_seq: int) -> tuple[str, ...]:
        """Not known here; the keeper finds them when it groups alerts."""
        return ()

    def stats(self) -> dict[str, int | float]:
        return {}

    def dump(self) -> dict[str, NDArray[Any]]:
        return {}

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Nothing is kept here."""


def _row(raw: bytes) -> RingRow:
    try:
        return _decode(raw)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"the ring beside a user cannot be read: {error}", hint="`ringwatch state rebuild`") from None
