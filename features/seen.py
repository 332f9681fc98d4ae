"""Links of an event's entities as its features were read from them: to keep beside the decisions that somebody will ask about.

The kernel notes them for every event (a copy of some rows); who keeps the decision packs those of its event.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.compiled import compiled
from features.links import link_features
from features.record import LINKS, RECORD
from ringwatch.errors import Corrupt

SEEN = np.dtype(
    [
        ("key", "u8"),
        ("first_s", "u4"),
        ("last_s", "u4"),
        ("count", "u2"),
        ("slot", "u1"),
        ("kind", "u1"),
        ("flags", "u1"),
    ],
    align=True,
)
"""One link: `slot` is the kind of the event's entity that keeps it, `key` and `kind` are of its other end; the rest as in the record."""
OF_LINKS = 13
"""Features that `relinked` gives."""
_FORMAT = b"\x01"


class Seen(NamedTuple):
    """Of a batch. Of the event's user all links, of another entity those of two users and more."""

    rows: NDArray[Any]
    """SEEN, event after event."""
    ends: NDArray[np.int64]
    """(events,): where the rows of each end."""


NOTHING = Seen(np.zeros(0, SEEN), np.zeros(0, np.int64))


def room_for(keys: NDArray[np.uint64], strength: NDArray[np.int64]) -> Seen:
    """Room for what the events with these keys (n, kinds) may have; memory is taken as it is written to."""
    linked = strength > 0
    linked[0] = True
    return Seen(np.empty(LINKS * int(np.count_nonzero(keys[:, linked])), SEEN), np.zeros(len(keys), np.int64))


@compiled
def note(table: Any, slots: Any, strength: Any, row: Any, seen: Any) -> None:
    """The links of the entities at `slots` of the table, as rows of event `row`; its predecessors are noted."""
    at = seen.ends[row - 1] if row > 0 else 0
    for k in range(slots.size if slots[0] >= 0 else 0):
        if slots[k] < 0 or (k > 0 and strength[k] == 0):
            continue
        record = table.records[slots[k]]
        n = np.int64(record.links)
        if k > 0 and n < 2:
            continue
        for i in range(n):
            one = seen.rows[at]
            one.key, one.kind, one.slot = record.link_key[i], record.link_kind[i], k
            one.first_s, one.last_s = record.link_first_s[i], record.link_last_s[i]
            one.count, one.flags = record.link_count[i], record.link_flags[i]
            at += 1
    seen.ends[row] = at


@compiled
def _relinked(rows: Any, is_user: Any, at_s: Any, record: Any, out: Any) -> None:
    record.links = rows.size
    for i in range(rows.size):
        record.link_key[i], record.link_kind[i] = rows[i].key, rows[i].kind
        record.link_first_s[i], record.link_last_s[i] = rows[i].first_s, rows[i].last_s
        record.link_count[i], record.link_flags[i] = rows[i].count, rows[i].flags
    link_features(record, is_user, at_s, out)


def relinked(rows: NDArray[Any], at_s: int, *, is_user: bool) -> NDArray[np.float32]:
    """What `link_features` gives for an entity with these links alone, fewer than 16."""
    out = np.zeros(OF_LINKS, np.float32)
    _relinked(rows, is_user, at_s, np.zeros(1, RECORD)[0], out)
    return out


def pack(seen: Seen, row: int) -> bytes:
    """The links of one event of the batch, compressed; empty where it has none."""
    rows = seen.rows[seen.ends[row - 1] if row > 0 else 0 : seen.ends[row]]
    if not len(rows):
        return b""
    assert SEEN.names is not None
    columns = b"".join(
        np.ascontiguousarray(rows[name]).astype(SEEN[name].newbyteorder("<")).tobytes() for name in SEEN.names
    )
    return _FORMAT + zlib.compress(columns, 1)


def unpack(packed: bytes) -> NDArray[Any]:
    """SEEN rows. Raises Corrupt for anything that `pack` did not write."""
    width = sum(SEEN[name].itemsize for name in SEEN.names or ())
    try:
        columns = zlib.decompress(packed[1:]) if packed else b""
        n = len(columns) // width
        if packed[:1] not in (b"", _FORMAT) or len(columns) != n * width:
            raise ValueError(f"{len(columns)} bytes of format {packed[:1]!r}")
    except (zlib.error, ValueError) as error:
        raise Corrupt(f"links kept with a decision cannot be read: {error}", hint="which version wrote them?") from None
    rows, at = np.zeros(n, SEEN), 0
    for name in SEEN.names or ():
        size = n * SEEN[name].itemsize
        rows[name] = np.frombuffer(columns[at : at + size], SEEN[name].newbyteorder("<"))
        at += size
    return rows
