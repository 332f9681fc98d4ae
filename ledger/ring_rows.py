"""Rings and their history in the ledger: rows and the entries they hold, and reading them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, select, tuple_

from ledger import tables as t
from ledger.insert import Inserter, next_number
from ledger.store import KeptRing
from rings.entry import RingEntry
from ringwatch.errors import BadInput

Place = tuple[int, str]
END = "\U0010ffff"
"""Of a place: behind all of its change."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]).decode


def put_history(connection: Connection, insert: Inserter, entries: Sequence[RingEntry]) -> None:
    """Those that are there stay as they are."""
    if not entries:
        return
    change = next_number(connection, "ring_changes")
    once = {(e.tenant, e.ring_id, e.number): e for e in entries}
    rows = [
        (*key, e.at_us, e.what, e.event_id, e.users, _encode((e.joined, e.left, e.rings)), change)
        for key, e in sorted(once.items())
    ]
    insert(t.ring_history, rows, "leave")


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

    def newest_ring_change(self) -> int:
        """The number of the last write of entries; 0 before the first."""
        c = t.counters.c
        with self._reading() as connection:
            return int(connection.scalar(select(c.value).where(c.name == "ring_changes")) or 0)

    def rings_changed(
        self, tenant: str, after: Place, *, limit: int, ring_id: str | None = None
    ) -> list[tuple[Place, RingEntry]]:
        """Entries of a tenant's rings, or of one, in the order they were written, those of one write by their time. `after`: the place of
        the last one that is known."""
        c = t.ring_history.c
        at_us, ring, number = _within(after[1])
        behind = tuple_(c.change, c.at_us, c.ring_id, c.number) > tuple_(after[0], at_us, ring, number)
        query = select(t.ring_history).where(c.tenant == tenant, c.change >= after[0], behind)
        query = query if ring_id is None else query.where(c.ring_id == ring_id)
        with self._reading() as connection:
            rows = (
                connection.execute(query.order_by(c.change, c.at_us, c.ring_id, c.number).limit(limit)).mappings().all()
            )
        return [((r["change"], f"{r['at_us']} {r['number']} {r['ring_id']}"), _entry(r)) for r in rows]


def _within(place: str) -> tuple[int, str, int]:
    """(time, ring, number) of a place's text; of an empty one that before all others. Raises BadInput."""
    if place in ("", END):
        return (2**62 if place else -(2**62)), "", 0
    at_us, _, rest = place.partition(" ")
    number, _, ring = rest.partition(" ")
    try:
        return int(at_us), ring, int(number)
    except ValueError:
        raise BadInput("after is not a cursor", hint="take it from a change", field="after") from None


def _entry(row: Any) -> RingEntry:
    joined, left, rings = _decode(row["content"])
    return RingEntry(
        row["tenant"], row["ring_id"], row["number"], row["at_us"], row["what"], row["event_id"], row["users"], joined, left, rings
    )  # fmt: skip
