"""What the ring keeper tells others: rings that changed since they were last told, and those that ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b

import msgspec

from rings.elsewhere import RingRow, pack_row
from rings.entry import RingEntry
from rings.keeper import RingKeeper
from rings.ring import Ring, RingSummary
from ringwatch.errors import Corrupt

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Ring).decode
LEAST_USERS = 2
Told = Mapping[str, tuple[str, tuple[str, ...]]]
"""ring id -> tenant, members: of rings that were told and not that they ended."""


def decode_whole(content: bytes) -> Ring:
    """A ring as it was packed to be told (msgpack). Raises Corrupt."""
    try:
        return _decode(content)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"a ring cannot be read: {error}", hint="was it written by another version?") from None


class _Head(msgspec.Struct):
    """What of a whole ring its line in a list needs; the rest is passed over."""

    summary: RingSummary


_decode_head = msgspec.msgpack.Decoder(_Head).decode


def decode_summary(content: bytes) -> RingSummary:
    """Of a ring as it was packed to be told, its line in a list alone. Raises Corrupt."""
    try:
        return _decode_head(content).summary
    except msgspec.MsgspecError as error:
        raise Corrupt(f"a ring cannot be read: {error}", hint="was it written by another version?") from None


class RingChange(msgspec.Struct, frozen=True):
    """A ring as it is now. `row` is what scorers read beside each member; `left` are users that were members when it was told
    last and are of no ring now. An ended ring has neither members nor a row."""

    tenant: str
    ring_id: str
    ring: Ring | None
    members: tuple[str, ...]
    row: bytes
    left: tuple[str, ...]
    history: tuple[RingEntry, ...] = ()
    """What happened to it since that was last told."""


class Published:
    """Remembers what was told: a hash and the members of each ring."""

    def __init__(self, keeper: RingKeeper, told: Told | None = None) -> None:
        """`told` by whoever kept the rings before: ring id -> tenant, members. They are told again, or that they ended."""
        self._keeper = keeper
        keeper.keep_history()
        self._told: dict[str, tuple[str, bytes, tuple[str, ...]]] = {
            ring_id: (tenant, b"", members) for ring_id, (tenant, members) in (told or {}).items()
        }
        self._settled_us = 0

    @property
    def marked(self) -> bool:
        """Whether a mark has passed since changes were last asked for: all rings may have changed."""
        return self._keeper.settled_us != self._settled_us

    @property
    def judged_anew(self) -> bool:
        """Whether verdicts on sharing changed rings since."""
        return bool(self._keeper.registry.judged_anew)

    def everything(self) -> set[str]:
        """Rings there are, and those told."""
        return {*self._told, *self._keeper.registry.by_id}

    def forget(self) -> None:
        """What was told counts no more: who heard it lost it."""
        self._told = {ring_id: (tenant, b"", members) for ring_id, (tenant, _, members) in self._told.items()}

    def changes(self, ring_ids: Iterable[str]) -> list[RingChange]:
        """Of the rings named, those that have a history to tell, and after a mark of all."""
        keeper = self._keeper
        history: dict[str, list[RingEntry]] = {}
        for entry in keeper.take_history():
            history.setdefault(entry.ring_id, []).append(entry)
        marked = self.marked
        self._settled_us = keeper.settled_us
        wanted = {*ring_ids, *history, *keeper.registry.judged_anew}
        keeper.registry.judged_anew.clear()
        if marked:
            wanted |= {*keeper.registry.by_id, *self._told}
        changes = (self._change(ring_id, tuple(history.get(ring_id, ()))) for ring_id in sorted(wanted))
        return [change for change in changes if change is not None]

    def _change(self, ring_id: str, history: tuple[RingEntry, ...]) -> RingChange | None:
        keeper, before = self._keeper, self._told.get(ring_id)
        state = keeper.registry.by_id.get(ring_id)
        if state is None or len(state.members) < LEAST_USERS:
            if before is None:
                return RingChange(history[0].tenant, ring_id, None, (), b"", (), history) if history else None
            del self._told[ring_id]
            return RingChange(before[0], ring_id, None, (), b"", tuple(self._alone(before[0], before[2])), history)
        tenant = keeper.links.tenant_list[state.tenant].name
        ring = keeper.ring(tenant, ring_id)
        assert ring is not None
        members = tuple(sorted(keeper.links.user_name[u] for u in state.members))
        told = blake2b(_encode((ring, members)), digest_size=8).digest()
        if before is not None and before[1] == told and not history:
            return None
        self._told[ring_id] = tenant, told, members
        row = keeper.columns_of(state)
        gone = set(before[2]) - set(members) if before is not None else set()
        packed = pack_row(RingRow(ring_id, row.astype("<f4").tobytes(), keeper.settled_us))
        return RingChange(tenant, ring_id, ring, members, packed, tuple(self._alone(tenant, sorted(gone))), history)

    def _alone(self, tenant: str, users: Iterable[str]) -> Iterator[str]:
        """Those that are in no ring now; who moved to another is told with that."""
        return (user for user in users if self._keeper.ring_of(tenant, user) is None)
