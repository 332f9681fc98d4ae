"""The first half of a batch on Redis: read what it needs in one round trip, tell its ids apart, run the kernel.

A second round trip follows only where the batch has labels or redemptions (they mark the neighbours of what they are
about) or ids that were applied before (their results).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.cold import ColdSide
from features.columns import Applied
from features.index import table_of
from features.kernel import LABEL_FRAUD, Columns, Layout, run
from features.packed import unpack
from features.record import PROMO
from features.redis_keys import GlobalKeys, TenantKeys, id_hash
from features.redis_pending import Counters, Lives, Read, RedisPending
from features.redis_wire import Command, Wire
from features.schema import FeatureSchema
from features.seen import room_for
from features.shared_state import CONFLICT, NEW, REBUILDING, SAME, Entry, Found, StateLost
from ringwatch.errors import BadInput, Corrupt

_BODY_BYTES, _ORIGIN_BYTES = 16, 255
_NO_KEYS = np.zeros(0, np.uint64)


@dataclass(frozen=True, slots=True)
class Place:
    """A state: where it is and what it holds."""

    wire: Wire
    globals: GlobalKeys
    schema: FeatureSchema
    layout: Layout
    format: bytes
    """What an epoch begins with when records are of this build's format and of this schema."""
    lives: Lives
    counters: Counters
    late_full_us: int


class _Answer(NamedTuple):
    """One read of a tenant, by the keys that were asked."""

    rebuilding: bool
    epoch: bytes
    began_us: int
    signups: int
    markers: list[bytes | None]
    wanted: NDArray[np.uint64]
    records: list[bytes | None]
    rings: dict[int, bytes | None]


class Reader:
    """Reads and computes batches of one state."""

    def __init__(self, place: Place, cold: ColdSide) -> None:
        self._place = place
        self._cold = cold
        self._announced: dict[str, bytes] = {}

    def begin(self, keys: TenantKeys, entries: Sequence[Entry], cols: Columns) -> RedisPending:
        hashes = [id_hash(entry.id) for entry in entries]
        answer = self._ask(keys, keys.markers(hashes), cols)
        found, new = _statuses(entries, answer.markers)
        again = [i for i, marker in enumerate(answer.markers) if marker is not None and found[i].status == SAME]
        if len(new) < len(entries):
            cols = Columns._make(column[new] for column in cols)
        results, pending = self._computed(
            keys, answer, cols, [entries[i].item for i in new], [hashes[i] for i in again]
        )
        for i, result in zip(again, results, strict=True):
            found[i] = found[i]._replace(result=result)
        events = [i for i, op in zip(new, cols.op, strict=True) if op < LABEL_FRAUD]
        labels = [i for i, op in zip(new, cols.op, strict=True) if op >= LABEL_FRAUD]
        pending.found = found
        pending.rows = events
        pending.ids = [(entries[i].id, hashes[i], entries[i].body + entries[i].origin) for i in (*events, *labels)]
        return pending

    def look(self, keys: TenantKeys, items: Sequence[Applied], cols: Columns) -> RedisPending:
        """A batch without ids."""
        _, pending = self._computed(keys, self._ask(keys, [], cols), cols, items, [])
        return pending

    def head(self) -> bool:
        """Whether the state is being rebuilt. Raises `StateLost` and `Corrupt`."""
        names = self._place.globals
        return self._alive(*self._place.wire.exchange([(b"GET", names.epoch), (b"GET", names.rebuild)]))

    def _alive(self, epoch: bytes | None, rebuild: bytes | None) -> bool:
        place = self._place
        mark = rebuild if rebuild is not None else epoch
        if mark is None:
            raise StateLost(
                f"Redis at {place.wire.place} holds no state under {place.globals.prefix!r}",
                hint="it was flushed, or is new: rebuild it from the decisions",
            )
        if not mark.startswith(place.format):
            raise Corrupt(
                f"the state in Redis at {place.wire.place} is of format {mark[:18].decode(errors='replace')}, not "
                f"{place.format[:-1].decode()}",
                hint="it was made with other entity kinds or by another version: rebuild it, or use another prefix",
            )
        return rebuild is not None

    def _ask(self, keys: TenantKeys, markers: list[bytes], cols: Columns) -> _Answer:
        wanted = np.unique(cols.keys)
        if len(wanted) and wanted[0] == 0:
            wanted = wanted[1:]
        users = sorted(set(cols.keys[cols.op < LABEL_FRAUD, 0].tolist()) - {0})
        names = [keys.epoch, keys.began, keys.signups, *markers, *keys.records(wanted)]
        names += keys.rings(np.array(users, np.uint64))
        place = self._place
        epoch, rebuild, values = place.wire.exchange(
            [(b"GET", place.globals.epoch), (b"GET", place.globals.rebuild), (b"MGET", *names)]
        )
        rebuilding = self._alive(epoch, rebuild)
        self._known_tenant(keys, values[0], rebuilding)
        first_record = 3 + len(markers)
        first_ring = first_record + len(wanted)
        return _Answer(
            rebuilding,
            values[0] or b"",
            int(values[1] or 0),
            int(values[2] or 0),
            values[3:first_record],
            wanted,
            values[first_record:first_ring],
            dict(zip(users, values[first_ring:], strict=True)),
        )

    def _known_tenant(self, keys: TenantKeys, epoch: bytes | None, rebuilding: bool) -> None:
        """The list of tenants tells one that is new from one whose part of the state was lost.

        A tenant that another process began since its epoch was read is listed and has one by now: not lost. A commit on
        what was read conflicts.
        """
        tenant, place = keys.tenant, self._place
        if epoch is not None:
            if self._announced.get(tenant) != epoch:
                place.wire.ask(b"SADD", place.globals.tenants, tenant.encode())
                self._announced[tenant] = epoch
        elif not rebuilding:
            listed, begun = place.wire.exchange(
                [(b"SISMEMBER", place.globals.tenants, tenant.encode()), (b"EXISTS", keys.epoch)]
            )
            if listed and not begun:
                raise StateLost(
                    f"the state of tenant {tenant} is gone from Redis at {place.wire.place}",
                    hint="it has to be rebuilt",
                )

    def _computed(
        self, keys: TenantKeys, answer: _Answer, cols: Columns, items: Sequence[Applied], again: list[bytes]
    ) -> tuple[list[bytes | None], RedisPending]:
        place = self._place
        values, wanted = answer.records, answer.wanted
        if len(cols.op) < len(answer.markers):
            wanted = np.unique(cols.keys[cols.keys != 0])
            values = [values[i] for i in np.searchsorted(answer.wanted, wanted)]
        base, versions = self._unpacked([v for v in values if v is not None])
        results, near = self._more(keys, again, _neighbours(base, wanted, cols))
        if near:
            more, more_versions = self._unpacked(near)
            base, versions = np.concatenate([base, more]), np.concatenate([versions, more_versions])
        absent = [i for i, v in enumerate(values) if v is None]
        degraded: list[tuple[str, ...]] = [()] * int(np.count_nonzero(cols.op < LABEL_FRAUD))
        if answer.rebuilding:
            degraded = [(REBUILDING,)] * len(degraded)
        if absent and (answer.rebuilding or place.lives.record_s):
            seeds, degraded = self._cold.seeds(keys.tenant, items, cols, wanted[absent], degraded)
            base, versions = np.concatenate([base, seeds]), np.concatenate([versions, np.zeros(len(seeds), np.uint64)])
        table = table_of(base, len(absent), answer.began_us, answer.signups)
        features = np.full((len(degraded), place.schema.size), np.nan, np.float32)
        seen = room_for(cols.keys[cols.op < LABEL_FRAUD], place.layout.strength)
        run(table, cols, place.layout, place.late_full_us, features, seen)
        new_epoch = answer.epoch or uuid.uuid4().hex.encode()
        gone = _label_only(cols, place.layout, base) if absent else _NO_KEYS
        read = Read(answer.epoch, new_epoch, answer.began_us, answer.signups, base, versions, gone)
        events = cols.op < LABEL_FRAUD
        return results, RedisPending(
            [], [], features, seen, [answer.rings.get(u) for u in cols.keys[events, 0].tolist()], degraded,
            place.wire, keys, place.lives, place.counters, place.layout.crowded, read, table, [],
        )  # fmt: skip

    def _more(
        self, keys: TenantKeys, again: list[bytes], near: NDArray[np.uint64]
    ) -> tuple[list[bytes | None], list[bytes]]:
        commands: list[Command] = []
        if again:
            commands.append((b"MGET", *keys.results(again)))
        if len(near):
            commands.append((b"MGET", *keys.records(near)))
        replies = self._place.wire.exchange(commands) if commands else []
        results: list[bytes | None] = replies[0] if again else []
        return results, [v for v in replies[-1] if v is not None] if len(near) else []

    def _unpacked(self, values: list[bytes]) -> tuple[NDArray[Any], NDArray[np.uint64]]:
        try:
            return unpack(values)
        except ValueError:
            raise Corrupt(
                f"a record in Redis at {self._place.wire.place} cannot be read", hint="rebuild the state"
            ) from None


def _statuses(entries: Sequence[Entry], markers: list[bytes | None]) -> tuple[list[Found], list[int]]:
    """(what is known of each, which are new). A second one of an id in the batch is not new."""
    found: list[Found] = []
    new: list[int] = []
    first: dict[str, Entry] = {}
    for i, (entry, marker) in enumerate(zip(entries, markers, strict=True)):
        if len(entry.body) != _BODY_BYTES or len(entry.origin) > _ORIGIN_BYTES:
            raise BadInput(
                f"entry {entry.id!r} has a body of {len(entry.body)} bytes", hint="16 are needed, origin: 255"
            )
        if marker is not None:
            status = SAME if marker[:_BODY_BYTES] == entry.body else CONFLICT
            found.append(Found(status, marker[_BODY_BYTES:], None))
        elif (before := first.get(entry.id)) is not None:
            found.append(Found(SAME if before.body == entry.body else CONFLICT, before.origin, None))
        else:
            first[entry.id] = entry
            new.append(i)
            found.append(Found(NEW, entry.origin, None))
    return found, new


def _neighbours(records: NDArray[Any], wanted: NDArray[np.uint64], cols: Columns) -> NDArray[np.uint64]:
    """Keys the kernel looks up beside those the batch names: neighbours of what is labelled, and of users who redeem."""
    labels, promos = cols.op >= LABEL_FRAUD, cols.op == PROMO
    if not labels.any() and not promos.any():
        return _NO_KEYS
    about = np.isin(records["key"], cols.keys[labels])
    about |= np.isin(records["key"], cols.keys[promos, 0]) & (records["promo"] == 0)
    near = np.setdiff1d(records["link_key"][about], wanted)
    return _some(near)


def _label_only(cols: Columns, layout: Layout, base: NDArray[Any]) -> NDArray[np.uint64]:
    """Keys that labels name and that have no record, nor get one from the batch's events; but for crowded kinds."""
    labels = cols.op >= LABEL_FRAUD
    if not labels.any():
        return _NO_KEYS
    named = np.setdiff1d(cols.keys[labels][:, ~layout.crowded], cols.keys[~labels])
    named = np.setdiff1d(named, base["key"])
    return _some(named)


def _some(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.asarray(keys[keys != 0], np.uint64)
