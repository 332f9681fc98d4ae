"""Making the state in Redis anew after it was lost, while scorers go on.

The order: `begin_rebuild` (from now on answers say `state_rebuilding` and commits go on against what there is); replay the
decisions into a `MemoryState` a tenant, and `mark` their ids; `hold` (commits wait); replay what was decided meanwhile; `load` each
tenant; `release`; `finish`. When the one who rebuilds dies, its marks run out by themselves, the state is lost as before,
and another may begin.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from features.memory_state import MemoryState
from features.packed import pack
from features.redis_keys import TenantKeys, id_hash
from features.redis_state import RedisState
from features.redis_wire import Command, Script
from ringwatch.errors import BadInput, Conflict

_OWN = Script("own")
_AT_ONCE = 500
_COMMANDS = 8
_SCAN = 5000
_RENEW_S = 10.0


class Rebuild:
    """One rebuilding of one state, by one thread. Raises `Conflict` once another has taken it over."""

    def __init__(self, state: RedisState) -> None:
        self._state = state
        self._wire = state.wire
        self._owner = b""
        self._ttl_ms = 0
        self._renewed_s = 0.0
        self._held: list[str] = []

    def begin_rebuild(self, owner: str, ttl_s: float) -> bool:
        """Mark the state as being rebuilt, for `ttl_s` after each sign of life. False when somebody else is at it."""
        if not owner or ttl_s < 1:
            raise BadInput(
                f"{owner!r} would rebuild with marks of {ttl_s:g} s", hint="a name and at least 1 s are needed"
            )
        self._owner = self._state.format + owner.encode()
        self._ttl_ms = int(1000 * ttl_s)
        lock = self._state.globals.rebuild
        if self._wire.ask(b"SET", lock, self._owner, b"NX", b"PX", self._ttl_ms):
            self._renewed_s = time.monotonic()
            return True
        return bool(self._wire.call(_OWN, [lock], [self._owner, self._ttl_ms]))

    def renew(self) -> None:
        """A sign of life, needed at least every `ttl_s`; `load` and `mark` give it themselves."""
        if not self._wire.call(_OWN, [self._state.globals.rebuild], [self._owner, self._ttl_ms]):
            raise Conflict("the state is not being rebuilt by this process any more", hint="begin again, or leave it")
        for tenant in self._held:
            if not self._wire.call(_OWN, [self._keys(tenant).hold], [self._owner, self._ttl_ms]):
                raise Conflict(
                    f"commits of tenant {tenant} are not held any more", hint="begin again: some may be missing"
                )
        self._renewed_s = time.monotonic()

    def hold(self, tenants: Sequence[str]) -> None:
        """From now on commits of these tenants wait; those that came before are done."""
        self.renew()
        for tenant in tenants:
            self._wire.ask(b"SET", self._keys(tenant).hold, self._owner, b"PX", self._ttl_ms)
            self._held.append(tenant)

    def release(self) -> None:
        for tenant in self._held:
            self._wire.call(_OWN, [self._keys(tenant).hold], [self._owner, 0])
        self._held = []

    def load(self, tenant: str, memory_state: MemoryState) -> int:
        """Make the tenant's records those of `memory_state`, which knows this tenant only; the number of records.

        The tenant must be held. From the first `load` to `finish` the state counts as lost should this process die.
        """
        self._must_hold(tenant)
        self.renew()
        keys = self._keys(tenant)
        records, began_us, signups = memory_state.contents()
        self._wire.ask(b"DEL", self._state.globals.epoch)
        self._remove_others(keys, np.sort(records["key"]))
        commands: list[Command] = []
        for start in range(0, len(records), _AT_ONCE):
            part = records[start : start + _AT_ONCE]
            values = pack(part, np.arange(len(part)), np.zeros(len(part), np.uint64))
            names = keys.records(part["key"])
            commands.append((b"MSET", *(x for pair in zip(names, values, strict=True) for x in pair)))
            if self._state.lives.record_s:
                commands += [(b"EXPIRE", name, self._state.lives.record_s) for name in names]
            commands = self._send(commands, _COMMANDS)
        commands += [
            (b"SET", keys.began, began_us) if began_us else (b"DEL", keys.began),
            (b"SET", keys.signups, signups),
            (b"SET", keys.epoch, uuid.uuid4().hex),
            (b"SADD", self._state.globals.tenants, tenant),
        ]
        self._send(commands, 0)
        return len(records)

    def mark(self, tenant: str, entries: Iterable[tuple[str, bytes, bytes]]) -> int:
        """Remember (id, body, origin) as applied, where they are not known yet; their number. Before `finish`, also while commits go on."""
        keys, lives = self._keys(tenant), self._state.lives
        left, n = iter(entries), 0
        while part := list(islice(left, _AT_ONCE)):
            if time.monotonic() - self._renewed_s > _RENEW_S:
                self.renew()
            names = keys.markers([id_hash(entry_id) for entry_id, _, _ in part])
            self._send(
                [
                    (b"SET", name, body + origin, b"NX", b"EX", lives.dedupe_s)
                    for name, (_, body, origin) in zip(names, part, strict=True)
                ],
                0,
            )
            n += len(part)
        return n

    def finish(self) -> None:
        """The state is whole: answers are not degraded any more. Tenants that were not loaded and have none are new ones."""
        self.renew()
        self.release()
        for tenant in self._state.tenants():
            if self._wire.ask(b"GET", self._keys(tenant).epoch) is None:
                self._wire.ask(b"SREM", self._state.globals.tenants, tenant)
        self._wire.ask(b"SET", self._state.globals.epoch, self._state.format + uuid.uuid4().hex.encode())
        self._wire.call(_OWN, [self._state.globals.rebuild], [self._owner, 0])

    def abandon(self) -> None:
        """Leave it: the state is as lost as it is, and another may begin at once."""
        self.release()
        self._wire.call(_OWN, [self._state.globals.rebuild], [self._owner, 0])

    def _keys(self, tenant: str) -> TenantKeys:
        return self._state.keys(tenant)

    def _must_hold(self, tenant: str) -> None:
        if tenant not in self._held:
            raise Conflict(f"commits of tenant {tenant} are not held", hint="call hold before load and mark")

    def _send(self, commands: list[Command], more_than: int) -> list[Command]:
        """Send them when they are many; those that are left."""
        if len(commands) <= more_than:
            return commands
        self._live()
        self._wire.exchange(commands)
        return []

    def _live(self) -> None:
        """Renew in time."""
        if time.monotonic() - self._renewed_s > self._ttl_ms / 4000:
            self.renew()

    def _remove_others(self, keys: TenantKeys, kept: NDArray[np.uint64]) -> None:
        """Remove the tenant's records that are not among `kept` (sorted)."""
        cursor, length = b"0", len(keys.record) + 8
        while True:
            self._live()
            cursor, names = self._wire.ask(b"SCAN", cursor, b"MATCH", keys.record + b"*", b"COUNT", _SCAN)
            names = [name for name in names if len(name) == length]
            there = np.frombuffer(b"".join(name[-8:] for name in names), np.uint64)
            at = np.searchsorted(kept, there)
            keep = kept[np.minimum(at, len(kept) - 1)] == there if len(kept) else np.zeros(len(there), np.bool_)
            gone = [name for name, stays in zip(names, keep, strict=True) if not stays]
            if gone:
                self._wire.ask(b"UNLINK", *gone)
            if cursor == b"0":
                return
