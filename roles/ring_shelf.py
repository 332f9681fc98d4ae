"""Rings as the ledger has them, for an API whose process does not keep them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from ledger.store import RingStore
from rings.keeper import RingKeeper
from rings.published import decode_summary, decode_whole
from rings.ring import Ring, RingSummary

_MOST = 500


class RingShelf:
    """Reads as a ring keeper is read."""

    def __init__(self, store: RingStore, tenant: str | None = None) -> None:
        """`tenant`: whose, where none is named."""
        self._store = store
        self._tenant = tenant

    def rings(self, tenant: str | None = None, *, least_users: int = 2) -> list[RingSummary]:
        """Highest risk first; the first 500."""
        tenant = tenant or self._tenant
        found = [] if tenant is None else self._store.rings(tenant, limit=_MOST, least_users=least_users)
        return [decode_summary(kept.content) for kept in found if kept.content]

    def ring(self, tenant: str, ring_id: str) -> Ring | None:
        kept = self._store.ring(tenant, ring_id)
        return None if kept is None or not kept.content else decode_whole(kept.content)

    def summaries(self, tenant: str, ring_ids: Sequence[str]) -> list[RingSummary]:
        return [decode_summary(kept.content) for kept in self._store.rings_named(tenant, ring_ids) if kept.content]


class LockedRings:
    """Rings that this process keeps, read while nobody changes them."""

    def __init__(self, keeper: RingKeeper, lock: AbstractContextManager[object]) -> None:
        self._keeper = keeper
        self._lock = lock

    def stats(self) -> dict[str, int | float]:
        with self._lock:
            return self._keeper.stats()

    def rings(self, tenant: str | None = None, *, least_users: int = 2) -> list[RingSummary]:
        with self._lock:
            return self._keeper.rings(tenant, least_users=least_users)

    def ring(self, tenant: str, ring_id: str) -> Ring | None:
        with self._lock:
            return self._keeper.ring(tenant, ring_id)

    def summaries(self, tenant: str, ring_ids: Sequence[str]) -> Sequence[RingSummary]:
        with self._lock:
            return self._keeper.summaries(tenant, ring_ids)
