"""Where an entity's record is: an open-addressing hash index with least-recently-used eviction, in flat arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.compiled import compiled
from features.record import RECORD

HEAD, TAIL, USED, EVICTED, BEGAN, SIGNUPS = 0, 1, 2, 3, 4, 5


class Table(NamedTuple):
    """Records with their index. `meta` int64: most and least recently used slot, slots in use, evictions so far, time of the
    first event (microseconds, 0 before it), sign-ups seen."""

    records: NDArray[Any]
    index_key: NDArray[np.uint64]
    """0 = empty; keys are uniform hashes, so their low bits are the home position."""
    index_slot: NDArray[np.int32]
    newer: NDArray[np.int32]
    older: NDArray[np.int32]
    meta: NDArray[np.int64]


def new_table(capacity: int) -> Table:
    """An empty table for `capacity` records. Memory is taken as records are used."""
    size = 1 << max(4, (2 * capacity - 1).bit_length())
    meta = np.array([-1, -1, 0, 0, 0, 0], np.int64)
    return Table(
        np.zeros(capacity, RECORD),
        np.zeros(size, np.uint64),
        np.zeros(size, np.int32),
        np.full(capacity, -1, np.int32),
        np.full(capacity, -1, np.int32),
        meta,
    )


def table_of(records: NDArray[Any], spare: int, began_us: int, signups: int) -> Table:
    """A table of copies of `records`, the first one used last, with room for `spare` more."""
    n = len(records)
    table = new_table(n + spare)
    table.records[:n] = records
    table.meta[USED], table.meta[BEGAN], table.meta[SIGNUPS] = n, began_us, signups
    _chain(table)
    rebuild(table)
    return table


@compiled
def _chain(table: Table) -> None:
    """Put the slots in use in the order of use, slot 0 first."""
    n = table.meta[USED]
    for slot in range(n):
        table.newer[slot] = slot - 1
        table.older[slot] = slot + 1 if slot + 1 < n else -1
    if n > 0:
        table.meta[HEAD], table.meta[TAIL] = 0, n - 1


@compiled
def find(table: Table, key: Any) -> int:
    """Slot of `key`, -1 when absent."""
    mask = table.index_key.size - 1
    at = np.int64(np.uint64(key) & np.uint64(mask))
    while table.index_key[at] != np.uint64(0):
        if table.index_key[at] == np.uint64(key):
            return int(table.index_slot[at])
        at = (at + 1) & mask
    return -1


@compiled
def _remove(table: Table, key: int) -> None:
    mask = table.index_key.size - 1
    hole = np.int64(np.uint64(key) & np.uint64(mask))
    while table.index_key[hole] != np.uint64(key):
        hole = (hole + 1) & mask
    at = hole
    while True:
        at = (at + 1) & mask
        if table.index_key[at] == np.uint64(0):
            break
        home = np.int64(table.index_key[at] & np.uint64(mask))
        if ((at - home) & mask) >= ((at - hole) & mask):
            table.index_key[hole] = table.index_key[at]
            table.index_slot[hole] = table.index_slot[at]
            hole = at
    table.index_key[hole] = np.uint64(0)


@compiled
def _unlink(table: Table, slot: int) -> None:
    newer, older = table.newer[slot], table.older[slot]
    if newer >= 0:
        table.older[newer] = older
    else:
        table.meta[HEAD] = older
    if older >= 0:
        table.newer[older] = newer
    else:
        table.meta[TAIL] = newer


@compiled
def _push(table: Table, slot: int) -> None:
    head = table.meta[HEAD]
    table.newer[slot] = -1
    table.older[slot] = head
    if head >= 0:
        table.newer[head] = slot
    else:
        table.meta[TAIL] = slot
    table.meta[HEAD] = slot


@compiled
def place(table: Table, key: int, slot: int) -> None:
    """Enter `key` -> `slot` into the index; the key must be absent."""
    mask = table.index_key.size - 1
    at = np.int64(np.uint64(key) & np.uint64(mask))
    while table.index_key[at] != np.uint64(0):
        at = (at + 1) & mask
    table.index_key[at] = np.uint64(key)
    table.index_slot[at] = slot


@compiled
def obtain(table: Table, key: Any, kind: int) -> int:
    """Slot of `key`, made if absent (the least recently used record leaves when full), now the most recent."""
    slot = find(table, key)
    if slot >= 0:
        if table.meta[HEAD] != slot:
            _unlink(table, slot)
            _push(table, slot)
        return slot
    if table.meta[USED] < table.records.size:
        slot = int(table.meta[USED])
        table.meta[USED] += 1
    else:
        slot = int(table.meta[TAIL])
        _remove(table, table.records[slot].key)
        _unlink(table, slot)
        table.meta[EVICTED] += 1
        _clear(table.records, slot)
    table.records[slot].key = key
    table.records[slot].kind = kind
    place(table, key, slot)
    _push(table, slot)
    return slot


@compiled
def _clear(records: NDArray[Any], slot: int) -> None:
    raw = records[slot : slot + 1].view(np.uint8)
    raw[:] = 0


@compiled
def rebuild(table: Table) -> None:
    """Fill the index from the records in use (after a restore)."""
    for slot in range(table.meta[USED]):
        place(table, table.records[slot].key, slot)
