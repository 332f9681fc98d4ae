"""SharedState on Redis 7 or newer: packed records, one read and one compare-and-set a batch."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.cold import ColdSide
from features.columns import Applied, ColumnBuilder, ResolvedLabel, entity_key, layout_of
from features.redis_keys import GlobalKeys, TenantKeys, id_hash
from features.redis_pending import Counters, Lives, RedisPending
from features.redis_read import Place, Reader
from features.redis_wire import Access, Script, Wire
from features.schema import FeatureSchema
from features.shared_state import ColdReader, Entry, StateLost, Unsettled
from ringwatch.errors import BadInput, Unavailable
from ringwatch.model import DAY_US

_FORMAT = 1
_SETTLE, _OWN = Script("settle"), Script("own")
_SWEEP_MS = 120_000
_AT_ONCE = 1000
_TRIES = 50


class RedisState:
    """See `SharedState`. Any thread may call; exchanges with the server take turns.

    What a tenant needs of several keys at once lies under one hash tag, so in a cluster a tenant lives on one shard.
    """

    def __init__(
        self,
        url: str,
        schema: FeatureSchema,
        *,
        username: str | None = None,
        password: str | None = None,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        prefix: str = "rw",
        timeout_s: float = 1.0,
        connect_timeout_s: float = 1.0,
        state_ttl_s: int = 0,
        dedupe_ttl_s: int = 86_400,
        answer_ttl_s: int = 900,
        unsettled_ttl_s: int = 7 * 86_400,
        hold_s: float = 10.0,
        late_full_us: int = DAY_US,
        cold_reader: ColdReader | None = None,
        cold_deadline_s: float = 0.005,
    ) -> None:
        if min(dedupe_ttl_s, answer_ttl_s, unsettled_ttl_s) < 1 or state_ttl_s < 0:
            raise BadInput("a time to live of the state is under a second", hint="only state_ttl_s may be 0: for ever")
        self.schema = schema
        self.globals = GlobalKeys(prefix)
        self.format = f"{_FORMAT}:{schema.hash}:".encode()
        self.lives = Lives(
            answer_s=answer_ttl_s,
            unsettled_s=unsettled_ttl_s,
            dedupe_s=dedupe_ttl_s,
            record_s=state_ttl_s,
            hold_s=hold_s,
        )
        access = Access(
            url,
            username,
            password,
            ca_file,
            cert_file,
            key_file,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
        )
        self.wire = Wire(access)
        self._counters = Counters()
        self._builder = ColumnBuilder(schema)
        self._tenants: dict[str, TenantKeys] = {}
        self._sweeping = b""
        layout = layout_of(schema)
        place = Place(self.wire, self.globals, schema, layout, self.format, self.lives, self._counters, late_full_us)
        self._reader = Reader(place, ColdSide(cold_reader, cold_deadline_s, layout, schema.kind_index))

    def initialise(self) -> bool:
        """Say that an empty state is right: no event was ever applied. False when there is one already."""
        epoch = self.format + uuid.uuid4().hex.encode()
        return bool(self.wire.ask(b"SET", self.globals.epoch, epoch, b"NX"))

    def ready(self) -> None:
        """Raises what `begin` would raise for some tenant: `Unavailable`, `StateLost` or `Corrupt`."""
        if self._reader.head():
            return
        tenants = self.tenants()
        epochs = self.wire.exchange([(b"GET", self.keys(tenant).epoch) for tenant in tenants])
        lost = [tenant for tenant, epoch in zip(tenants, epochs, strict=True) if epoch is None]
        if lost:
            raise StateLost(f"the state of tenant {lost[0]} is gone from Redis", hint="it has to be rebuilt")

    def begin(self, tenant: str, entries: Sequence[Entry]) -> RedisPending:
        keys = self.keys(tenant)
        return self._reader.begin(keys, entries, self._builder.build([entry.item for entry in entries]))

    def settle(self, tenant: str, ids: Sequence[str], *, keep: bool = True) -> None:
        keys, answer_s = self.keys(tenant), self.lives.answer_s if keep else 0
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            hashes = [id_hash(i) for i in part]
            names = [keys.outbox, *keys.results(hashes), *keys.markers(hashes)]
            fields = [i.encode("utf-8", "surrogatepass") for i in part]
            self.wire.call(_SETTLE, names, [answer_s, self.lives.dedupe_s, *fields])

    def unsettled(self, tenant: str) -> list[Unsettled]:
        keys = self.keys(tenant)
        flat: list[bytes] = self.wire.ask(b"HGETALL", keys.outbox)
        since = dict(zip(flat[::2], flat[1::2], strict=True))
        names = sorted(since, key=lambda name: (since[name], name))
        out: list[Unsettled] = []
        for start in range(0, len(names), _AT_ONCE):
            part = [name.decode("utf-8", "surrogatepass") for name in names[start : start + _AT_ONCE]]
            hashes = [id_hash(i) for i in part]
            markers, results = self.wire.exchange([(b"MGET", *keys.markers(hashes)), (b"MGET", *keys.results(hashes))])
            gone: list[bytes] = []
            for entry_id, marker, result in zip(part, markers, results, strict=True):
                if marker is not None and result is not None:
                    out.append(Unsettled(entry_id, marker[16:], result))
                else:
                    gone.append(entry_id.encode("utf-8", "surrogatepass"))
            if gone:
                self.wire.ask(b"HDEL", keys.outbox, *gone)
        return out

    def waiting(self, tenant: str, ids: Sequence[str]) -> set[str]:
        if not ids:
            return set()
        fields = [i.encode("utf-8", "surrogatepass") for i in ids]
        found = self.wire.ask(b"HMGET", self.keys(tenant).outbox, *fields)
        return {i for i, since in zip(ids, found, strict=True) if since is not None}

    def claim_sweep(self, owner: str) -> bool:
        mine = f"{owner}:{uuid.uuid4().hex}".encode()
        if not self.wire.ask(b"SET", self.globals.sweep, mine, b"NX", b"PX", _SWEEP_MS):
            return False
        self._sweeping = mine
        return True

    def end_sweep(self) -> None:
        self.wire.call(_OWN, [self.globals.sweep], [self._sweeping, 0])

    def write_rings(self, tenant: str, rows: Mapping[str, bytes]) -> None:
        keys = self.keys(tenant)
        items = list(rows.items())
        for start in range(0, len(items), _AT_ONCE):
            part = items[start : start + _AT_ONCE]
            names = keys.rings(_users(tenant, [user for user, _ in part]))
            gone = [name for name, (_, row) in zip(names, part, strict=True) if not row]
            kept = [x for name, (_, row) in zip(names, part, strict=True) if row for x in (name, row)]
            commands = [(b"MSET", *kept)] * bool(kept) + [(b"UNLINK", *gone)] * bool(gone)
            self.wire.exchange(commands)

    def read_rings(self, tenant: str, users: Sequence[str]) -> list[bytes | None]:
        keys = self.keys(tenant)
        out: list[bytes | None] = []
        for start in range(0, len(users), _AT_ONCE):
            names = keys.rings(_users(tenant, users[start : start + _AT_ONCE]))
            out += self.wire.ask(b"MGET", *names)
        return out

    def apply(self, items: Sequence[Applied], *, commit: bool = True) -> NDArray[np.float32]:
        """Tenants are applied one after another, in the order of their first items."""
        by_tenant: dict[str, list[int]] = {}
        rows: list[int] = []
        events = 0
        for i, item in enumerate(items):
            by_tenant.setdefault(_tenant(item), []).append(i)
            rows.append(events)
            events += _is_event(item)
        features = np.full((events, self.schema.size), np.nan, np.float32)
        for tenant, places in by_tenant.items():
            mine = [items[i] for i in places]
            pending = self._applied(tenant, mine, commit)
            features[[rows[i] for i in places if _is_event(items[i])]] = pending.features
        return features

    def _applied(self, tenant: str, items: Sequence[Applied], commit: bool) -> RedisPending:
        for attempt in range(_TRIES):
            pending = self._reader.look(self.keys(tenant), items, self._builder.build(items))
            if not commit or pending.write([]):
                return pending
            time.sleep(0.001 * attempt)
        raise Unavailable(
            f"{len(items)} items could not be applied in {_TRIES} tries",
            hint="others change the same records: smaller batches",
        )

    def stats(self) -> dict[str, int]:
        size, info, rebuilding = self.wire.exchange([(b"DBSIZE",), (b"INFO",), (b"EXISTS", self.globals.rebuild)])
        values = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
        return {
            "keys": int(size),
            "bytes": int(values[b"used_memory"]),
            "evicted": int(values[b"evicted_keys"]),
            "conflicts": self._counters.conflicts,
            "merges": self._counters.merges,
            "rebuilding": int(rebuilding),
        }

    def tenants(self) -> list[str]:
        """All that ever had state here."""
        return sorted(name.decode() for name in self.wire.ask(b"SMEMBERS", self.globals.tenants))

    def keys(self, tenant: str) -> TenantKeys:
        keys = self._tenants.get(tenant)
        if keys is None:
            keys = self._tenants[tenant] = TenantKeys(self.globals.prefix, tenant)
        return keys

    def close(self) -> None:
        self.wire.close()


def _tenant(item: Applied) -> str:
    return item.label.tenant if isinstance(item, ResolvedLabel) else item.tenant


def _is_event(item: Applied) -> bool:
    return not isinstance(item, ResolvedLabel)


def _users(tenant: str, users: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([entity_key(tenant, "user", user) for user in users], np.uint64)
