"""Event ids seen before: a redelivery is told from a new event, and from a conflict (the same id, another body).

Keeps a 64-bit hash of the id and of the body for the most recent events, in two generations of fixed size, so memory is
bounded: between `capacity` / 2 and `capacity` of the last events are known. Two ids among 4 million collide with
probability 4e-7; a collision shows as a conflict, so nothing is lost in silence.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from ringwatch.model import Event

NEW, SAME, CONFLICT = 0, 1, 2
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def body_hash(event: Event) -> bytes:
    """16 bytes over everything the event says."""
    return blake2b(_encode(event), digest_size=16).digest()


class SeenEvents:
    """Which of the recent events were seen. Rebuilt from the ledger after a restart."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._half = max(1, capacity // 2)
        self._recent: dict[int, int] = {}
        self._before: dict[int, int] = {}

    def check(self, event: Event) -> int:
        """NEW (and remembered from now on), SAME or CONFLICT."""
        return self._check(_id_hash(event.tenant, event.event_id), _body(event))

    def look(self, event: Event) -> int:
        """As `check`, and nothing is remembered."""
        known = self._known(_id_hash(event.tenant, event.event_id))
        return NEW if known is None else SAME if known == _body(event) else CONFLICT

    def remember(self, tenant: str, event_id: str, body: bytes) -> None:
        self._check(_id_hash(tenant, event_id), int.from_bytes(body[:8], "little"))

    def _known(self, key: int) -> int | None:
        known = self._recent.get(key)
        return self._before.get(key) if known is None else known

    def _check(self, key: int, body: int) -> int:
        known = self._known(key)
        if known is not None:
            return SAME if known == body else CONFLICT
        if len(self._recent) >= self._half:
            self._before, self._recent = self._recent, {}
        self._recent[key] = body
        return NEW


def _body(event: Event) -> int:
    return int.from_bytes(body_hash(event)[:8], "little")


def _id_hash(tenant: str, event_id: str) -> int:
    return int.from_bytes(blake2b(f"{len(tenant)}:{tenant}{event_id}".encode(), digest_size=8).digest(), "little")
