"""A batch that was read from Redis and computed: what it writes, and the one call that writes it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.index import BEGAN, SIGNUPS, USED, Table
from features.merge import merged
from features.packed import Plan, pack, plan, unpack
from features.record import RECORD
from features.redis_keys import TenantKeys
from features.redis_wire import Script, Wire
from features.seen import Seen
from features.shared_state import Found, StateLost
from ringwatch.errors import Unavailable

WRITTEN, ID_TAKEN, RECORD_CHANGED, EPOCH_GONE, EPOCH_OTHER, HELD = 1, 2, 3, 4, 5, 6
_COMMIT = Script("commit")
_NO_VERSION = bytes(8)


@dataclass(frozen=True, slots=True)
class Lives:
    """How long what is written lives, in seconds, and how long a commit tries."""

    answer_s: int = 900
    """A result, once it was settled."""
    unsettled_s: int = 7 * 86_400
    """A result and the marker of its id, until it is settled."""
    dedupe_s: int = 172_800
    """The marker of an id."""
    record_s: int = 0
    """A record since it was last written; 0 = for ever."""
    hold_s: float = 10.0
    """How long a commit waits while commits are held."""
    merges: int = 32
    """How often crowded records are merged before the batch begins again."""


@dataclass(slots=True)
class Counters:
    """Of this process since it began."""

    conflicts: int = 0
    merges: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """What a batch read of its tenant."""

    epoch: bytes
    """b"" for a new tenant."""
    new_epoch: bytes
    began_us: int
    signups: int
    base: NDArray[Any]
    """Records that were there, or were seeded."""
    versions: NDArray[np.uint64]
    """Of `base`; 0 for seeded ones."""
    absent: NDArray[np.uint64]
    """Keys that were not there, but for crowded kinds."""


@dataclass(slots=True)
class _Call:
    """Keys and arguments of the script that stay as they are from try to try."""

    keys: list[bytes]
    head: list[bytes | int]
    versions: bytes
    values: list[bytes]


@dataclass(slots=True)
class RedisPending:
    """See `Pending`."""

    found: list[Found]
    rows: list[int]
    features: NDArray[np.float32]
    seen: Seen = field(repr=False)
    rings: list[bytes | None]
    degraded: list[tuple[str, ...]]
    wire: Wire = field(repr=False)
    keys: TenantKeys
    lives: Lives
    counters: Counters
    crowded: NDArray[np.bool_]
    """By kind."""
    read: Read = field(repr=False)
    table: Table = field(repr=False)
    ids: list[tuple[str, bytes, bytes]] = field(repr=False)
    """(id, hash, value of its marker) of new entries: the events in order, then the labels."""

    def commit(self, results: Sequence[bytes], labels: Sequence[bytes] = ()) -> bool:
        if len(results) != len(self.rows):
            raise ValueError(f"{len(results)} results for {len(self.rows)} new events")
        if len(labels) not in (0, len(self.ids) - len(self.rows)):
            raise ValueError(f"{len(labels)} results for {len(self.ids) - len(self.rows)} new labels")
        if not self.ids and not len(self.table.records):
            return True
        return self.write([*results, *labels])

    def write(self, results: Sequence[bytes]) -> bool:
        records = self.table.records[: int(self.table.meta[USED])]
        versions = np.zeros(len(records), np.uint64)
        versions[: len(self.read.base)] = self.read.versions
        todo = plan(records, self.read.base, self.crowded)
        call = self._call(records, todo, versions, results)
        now, now_versions = records, versions
        held_until_s = time.monotonic() + self.lives.hold_s
        for _ in range(self.lives.merges + 1):
            values = pack(now, todo.mixed, now_versions)
            args = [*call.head, call.versions, now_versions[todo.mixed].tobytes(), *call.values, *values]
            while (answer := self.wire.call(_COMMIT, call.keys, args, again=bool(self.ids))) == HELD:
                self._wait(held_until_s)
            if answer == WRITTEN:
                return True
            if answer == EPOCH_GONE:
                raise StateLost(
                    f"the state of tenant {self.keys.tenant} is gone from Redis", hint="it has to be rebuilt"
                )
            if not isinstance(answer, list):
                break
            self.counters.merges += 1
            now, now_versions = self._merged(records, todo.mixed, answer, versions)
        self.counters.conflicts += 1
        return False

    def _merged(
        self,
        records: NDArray[Any],
        mixed: NDArray[np.int64],
        values: list[bytes | None],
        versions: NDArray[np.uint64],
    ) -> tuple[NDArray[Any], NDArray[np.uint64]]:
        theirs, there = np.zeros(len(mixed), RECORD), np.array([v is not None for v in values])
        found, found_versions = unpack([v for v in values if v is not None])
        theirs[there] = found
        base = np.zeros(len(mixed), RECORD)
        known = mixed < len(self.read.base)
        base[known] = self.read.base[mixed[known]]
        now, new_versions = records.copy(), versions.copy()
        now[mixed] = merged(base, records[mixed], theirs)
        current = np.zeros(len(mixed), np.uint64)
        current[there] = found_versions
        new_versions[mixed] = current
        return now, new_versions

    def _call(
        self,
        records: NDArray[Any],
        todo: Plan,
        versions: NDArray[np.uint64],
        results: Sequence[bytes],
    ) -> _Call:
        keys, read, meta, n = self.keys, self.read, self.table.meta, len(results)
        if not self.ids:
            n = 0
        hashes = [h for _, h, _ in self.ids]
        now_us = time.time_ns() // 1000
        outbox: list[bytes] = []
        for i, (entry_id, _, _) in enumerate(self.ids[:n]):
            outbox += (entry_id.encode("utf-8", "surrogatepass"), (now_us + i).to_bytes(8, "big"))
        names = records["key"]
        all_keys = [
            *(keys.epoch, keys.hold, keys.began, keys.signups, keys.outbox),
            *keys.markers(hashes),
            *keys.results(hashes[:n]),
            *keys.records(names[todo.plain]),
            *keys.records(read.absent),
            *keys.records(names[todo.mixed]),
        ]
        began = int(meta[BEGAN]) if read.began_us == 0 else 0
        head: list[bytes | int] = [
            *(read.epoch, read.new_epoch, began or b"", int(meta[SIGNUPS]) - read.signups),
            *(max(self.lives.dedupe_s, self.lives.unsettled_s), self.lives.unsettled_s, self.lives.record_s),
            *(len(self.ids), n, len(todo.plain) + len(read.absent), todo.writes, len(todo.mixed)),
        ]
        values = [marker for _, _, marker in self.ids]
        values += results[:n]
        values += outbox
        values += pack(records, todo.plain[: todo.writes], versions)
        return _Call(all_keys, head, versions[todo.plain].tobytes() + _NO_VERSION * len(read.absent), values)

    def _wait(self, until: float) -> None:
        while time.monotonic() < until:
            time.sleep(0.02)
            if not self.wire.ask(b"EXISTS", self.keys.hold):
                return
        raise Unavailable(
            f"writes to the state of tenant {self.keys.tenant} have been held for {self.lives.hold_s:g} s",
            hint="it is being rebuilt: try again",
            retry_after_s=5.0,
        )
