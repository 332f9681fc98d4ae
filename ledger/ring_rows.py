"""Rings and their history in the ledger: rows and the entries they hold, and reading them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, select

from ledger import tables as t
from ledger.store import KeptRing
from rings.entry import RingEntry

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]).decode


def history_rows(entries: Iterable[RingEntry]) -> list[tuple[Any, ...]]:
    """Rows of the table, sorted by key, each once."""
    once = {(e.tenant, e.ring_id, e.number): e for e in entries}
    return [
        (*key, e.at_us, e.what, e.event_id, e.users, _encode((e.joined, e.left, e.rings)))
        for key, e in sorted(once.items())
    ]


class RingReads:
    """Safe to call from several threads; every read has a connection of its own."""

    _reading: Callable[[], AbstractContextManager[Connection]]

    def rings(self, tenant: str, *, limit: int, least_users: int = 2) -> Sequence[KeptRing]:
        c = t.rings.c
        query = select(t.rings).where(c.tenant == tenant, c.users >= least_users)
        return self._rings(query.order_by(c.risk.desc(), c.users.desc(), c.ring_id).limit(limit))

    def ring(self, tenant: str, ring_id: str) -> KeptRing | None:
        found = self._rings(select(t.rings).where(t.rings.c.tenant == tenant, t.rings.c.ring_id == ring_id))
        return found[0] if found else None

    def rings_named(self, tenant: str, ring_ids: Sequence[str]) -> Sequence[KeptRing]:
        return self._rings(select(t.rings).where(t.rings.c.tenant == tenant, t.rings.c.ring_id.in_(ring_ids)))

    def _rings(self, query: Select[Any]) -> list[KeptRing]:
        with self._reading() as connection:
            return [KeptRing(**row) for row in connection.execute(query).mappings()]

    def ring_history(self, tenant: str, ring_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[RingEntry]:
        """Entries after a number, in order."""
        c = t.ring_history.c
        query = select(t.ring_history).where(c.tenant == tenant, c.ring_id == ring_id, c.number > after)
        with self._reading() as connection:
            return [_entry(row) for row in connection.execute(query.order_by(c.number).limit(limit)).mappings()]


def _entry(row: Any) -> RingEntry:
    joined, left, rings = _decode(row["content"])
    return RingEntry(
        row["tenant"], row["ring_id"], row["number"], row["at_us"], row["what"], row["event_id"], row["users"], joined, left, rings
    )  # fmt: skip
