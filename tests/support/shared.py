"""States on a Redis server for tests: each under a prefix of its own, removed afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from features.columns import Applied, ResolvedLabel, entity_key
from features.memory_state import MemoryState
from features.packed import unpack
from features.record import RECORD
from features.redis_state import RedisState
from features.schema import FeatureSchema
from features.shared_state import Entry, Pending
from ingest.redelivery import body_hash
from ringwatch.model import Event

SCHEMA = FeatureSchema()
TENANT = "default"
_made: dict[str, tuple[str, dict[str, Any]]] = {}
"""How each state was opened, by its prefix."""


@contextmanager
def fresh_state(url: str, **more: Any) -> Iterator[RedisState]:
    """An initialised state of its own; what it wrote is removed at the end."""
    options = {"schema": SCHEMA, "prefix": f"test-{uuid.uuid4().hex[:12]}", **more}
    state = RedisState(url, **options)
    _made[state.globals.prefix] = (url, options)
    try:
        state.initialise()
        yield state
    finally:
        forget(state)
        state.close()
        del _made[state.globals.prefix]


def forget(state: RedisState, part: str = "") -> None:
    """What FLUSHALL would do to this state, or to the keys that begin with `part` after the prefix."""
    cursor = b"0"
    while True:
        cursor, names = state.wire.ask("SCAN", cursor, "MATCH", f"{state.globals.prefix}:{part}*", "COUNT", 5000)
        if names:
            state.wire.ask("UNLINK", *names)
        if cursor == b"0":
            return


def other(state: RedisState, **more: Any) -> RedisState:
    """Another process's view of the same state."""
    url, options = _made[state.globals.prefix]
    return RedisState(url, **{**options, **more})


def entries(items: Sequence[Applied], origin: bytes = b"here", start: int = 0) -> list[Entry]:
    out = []
    for i, item in enumerate(items, start):
        if isinstance(item, Event):
            out.append(Entry(item, item.event_id, body_hash(item), origin + b"/%d" % i))
        else:
            out.append(Entry(item, f"label/{i}", bytes(16), origin + b"/%d" % i))
    return out


def packed_results(pending: Pending, origin: str = "r") -> list[bytes]:
    return [f"{origin}{i}".encode() for i in pending.rows]


def write(state: RedisState, items: Sequence[Applied], start: int = 0) -> np.ndarray:
    """Apply as a scorer does, with ids: again until nobody was in between. The features of the last try."""
    batch = entries(items, start=start)
    for _ in range(200):
        pending = state.begin(TENANT, batch)
        if pending.commit(packed_results(pending)):
            return pending.features
    raise AssertionError("never came to an end")


def record(state: RedisState, kind: str, entity_id: str, tenant: str = TENANT) -> np.ndarray | None:
    key = np.array([entity_key(tenant, kind, entity_id)], np.uint64)
    value = state.wire.ask("GET", *state.keys(tenant).records(key))
    return None if value is None else unpack([value])[0][0]


def same_records(state: RedisState, memory: MemoryState, tenant: str = TENANT) -> bool:
    """Whether Redis holds what `memory` holds, to the bit, what the tenant's stream is known by included."""
    records, began_us, signups = memory.contents()
    keys = state.keys(tenant)
    values = state.wire.ask("MGET", *keys.records(records["key"]))
    if None in values:
        return False
    back, _ = unpack(values)
    meta = [int(v or 0) for v in state.wire.ask("MGET", keys.began, keys.signups)]
    same = all(back[name].tobytes() == np.ascontiguousarray(records[name]).tobytes() for name in RECORD.names or ())
    return same and meta == [began_us, signups]


def is_label(item: Applied) -> bool:
    return isinstance(item, ResolvedLabel)
