"""What the graph knows about an entity that the state no longer has, as the beginning of a new record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.columns import Applied, entity_key
from features.compiled import compiled
from features.kernel import LABEL_FRAUD, Columns, Layout
from features.links import link_position, touch_link
from features.record import LINK_WEAK, LINKS, RECORD, SIGNUP
from features.shared_state import ColdEntity, ColdReader
from ringwatch.errors import Unavailable
from ringwatch.model import MICROSECONDS

_FULL_COUNT = 65535


@compiled
def _seed(
    record: Any,
    is_user: bool,
    keys: NDArray[np.uint64],
    kinds: NDArray[np.int64],
    numbers: NDArray[np.int64],
    flags: NDArray[np.int64],
) -> None:
    """Links oldest first; numbers (n, 3): first and last second, events."""
    for i in range(keys.size):
        touch_link(record, is_user, keys[i], kinds[i], numbers[i, 0], flags[i])
        j = link_position(record, keys[i])
        record.link_first_s[j] = numbers[i, 0]
        record.link_last_s[j] = numbers[i, 1]
        record.link_count[j] = min(numbers[i, 2], _FULL_COUNT)


def seeded(
    tenant: str, found: Mapping[tuple[str, str], ColdEntity], layout: Layout, kinds: Mapping[str, int]
) -> NDArray[Any]:
    """Records (n,) of what was found, in its order: times, count and links; amounts, habits and labels stay unknown."""
    records = np.zeros(len(found), RECORD)
    for row, ((kind, entity_id), cold) in enumerate(found.items()):
        record = records[row]
        record["key"] = entity_key(tenant, kind, entity_id)
        record["kind"] = kinds[kind]
        record["first_us"], record["last_us"] = cold.first_us, max(cold.first_us, cold.last_us)
        record["count"] = max(cold.events, 1)
        links = sorted((x for x in cold.links[:LINKS] if x.kind in kinds), key=lambda x: x.last_us)
        if not links:
            continue
        numbers = np.array([(x.first_us // MICROSECONDS, x.last_us // MICROSECONDS, x.events) for x in links], np.int64)
        _seed(
            record,
            kind == "user",
            np.array([entity_key(tenant, x.kind, x.id) for x in links], np.uint64),
            np.array([kinds[x.kind] for x in links], np.int64),
            numbers,
            np.array([_weak(layout, kinds[kind], kinds[x.kind]) for x in links], np.int64),
        )
    return records


def _weak(layout: Layout, kind: int, other: int) -> int:
    return LINK_WEAK if 1 in (layout.strength[kind], layout.strength[other]) else 0


class ColdSide:
    """Asks the graph about entities that are absent from the state, once a batch and within a deadline."""

    def __init__(self, reader: ColdReader | None, deadline_s: float, layout: Layout, kinds: Mapping[str, int]) -> None:
        self._reader = reader
        self._deadline_s = deadline_s
        self._layout = layout
        self._kinds = kinds

    def seeds(
        self,
        tenant: str,
        items: Sequence[Applied],
        cols: Columns,
        absent: NDArray[np.uint64],
        degraded: list[tuple[str, ...]],
    ) -> tuple[NDArray[Any], list[tuple[str, ...]]]:
        """(records of those the graph knows, `degraded` with `cold:<kind>` or `cold_unread:<kind>` added)."""
        if self._reader is None:
            return np.zeros(0, RECORD), degraded
        wanted, by_row = self._absent(items, cols, set(absent.tolist()))
        if not wanted:
            return np.zeros(0, RECORD), degraded
        try:
            found = self._reader(tenant, wanted, self._deadline_s)
        except Unavailable:
            found, word, known = {}, "cold_unread", set(wanted)
        else:
            found = {entity: cold for entity, cold in found.items() if entity in set(wanted)}
            word, known = "cold", set(found)
        out = []
        for before, entities in zip(degraded, by_row, strict=True):
            out.append((*before, *(f"{word}:{kind}" for kind, entity_id in entities if (kind, entity_id) in known)))
        return seeded(tenant, found, self._layout, self._kinds), out

    def _absent(
        self, items: Sequence[Applied], cols: Columns, absent: set[int]
    ) -> tuple[list[tuple[str, str]], list[list[tuple[str, str]]]]:
        """Absent entities, in the order named, and those of each event. A user who signs up is new, not cold."""
        wanted: dict[tuple[str, str], None] = {}
        by_row: list[list[tuple[str, str]]] = []
        for i, item in enumerate(items):
            mine = []
            for kind, entity_id in item.entities.items():
                k = self._kinds.get(kind)
                if k is None or int(cols.keys[i, k]) not in absent or (k == 0 and cols.op[i] == SIGNUP):
                    continue
                wanted[kind, entity_id] = None
                mine.append((kind, entity_id))
            if cols.op[i] < LABEL_FRAUD:
                by_row.append(mine)
        return list(wanted), by_row
