"""Port: what is known about entities now, kept where several processes share it.

A batch of one tenant is taken up in two steps. `begin` reads everything the batch needs in one round trip, tells which
ids were applied before, and runs the kernel on a local copy; nothing is changed. The caller scores, and `commit` writes
records, ids and packed results in one atomic step if nobody else changed what was read, else nothing: begin again.
Called by scorers, from one thread per store; any number of processes may hold a store on the same data. Entries of one
batch are applied in the order given; between batches of different processes there is no order but that of the commits.
An id is applied once however often it arrives (within `dedupe_ttl_s` of its commit).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.columns import Applied
from features.schema import FeatureSchema
from features.seen import Seen
from ringwatch.errors import StoreAway

NEW, SAME, CONFLICT = 0, 1, 2
"""As in ingest/redelivery.py: never seen; seen with the same body; seen with another body."""

REBUILDING = "state_rebuilding"
"""Degraded: the state was lost and is being rebuilt; features know only a part of the past."""


class StateLost(StoreAway):
    """The store answers and its data is gone: flushed, or never initialised. It must be rebuilt before scoring goes on."""


class Entry(NamedTuple):
    """One event or label to apply."""

    item: Applied
    id: str
    """Idempotence id within the tenant: of events and labels together, so labels need a prefix of their own."""
    body: bytes
    """16 bytes over the content (`ingest.redelivery.body_hash`)."""
    origin: bytes
    """Where it came from, such as `fraud.events/3/1234`. At most 255 bytes, given back to whoever brings the id again."""


class Found(NamedTuple):
    """What is known about an entry's id."""

    status: int
    """NEW, SAME or CONFLICT."""
    origin: bytes
    """Of the entry that was applied first; of this one when NEW."""
    result: bytes | None
    """SAME: what was stored when it was applied. None when its time has passed since it was settled, when its first is in
    this very batch, and for labels that were given none."""


class Unsettled(NamedTuple):
    """A result that was stored and is not known to have been emitted."""

    id: str
    origin: bytes
    result: bytes


class ColdLink(msgspec.Struct, frozen=True):
    """A link of a cold entity: the kind and id of the other end."""

    kind: str
    id: str
    first_us: int
    last_us: int
    events: int


class ColdEntity(msgspec.Struct, frozen=True):
    """What the graph knows about an entity that the state no longer has. Times in microseconds, amounts in minor units."""

    first_us: int
    last_us: int
    events: int
    amount_minor: int
    links: tuple[ColdLink, ...] = ()
    """The most recent first; 16 are used."""


ColdReader = Callable[[str, "list[tuple[str, str]]", float], "Mapping[tuple[str, str], ColdEntity]"]
"""(tenant, [(kind, id)], seconds it may take) -> those it knows. Raises `Unavailable` past its time."""


class Pending(Protocol):
    """A batch that was read and computed and not yet written."""

    @property
    def found(self) -> list[Found]:
        """One per entry."""
        ...

    @property
    def rows(self) -> list[int]:
        """Indices of the entries that are new events, in order."""
        ...

    @property
    def features(self) -> NDArray[np.float32]:
        """(len(rows), schema.size), NaN missing; the caller may write into it (ring features)."""
        ...

    @property
    def seen(self) -> Seen:
        """Links that the features were read from, of the new events."""
        ...

    @property
    def rings(self) -> list[bytes | None]:
        """Per new event: the second record of its user, as `write_rings` was given it. None without one."""
        ...

    @property
    def degraded(self) -> list[tuple[str, ...]]:
        """Per new event: `state_rebuilding`, `cold:<kind>` (seeded from the graph), `cold_unread:<kind>` (it did not answer)."""
        ...

    def commit(self, results: Sequence[bytes], labels: Sequence[bytes] = ()) -> bool:
        """Write everything in one atomic step, `results` one per row, `labels` one per new label or none. Once only.

        False, and nothing is written, when somebody else applied one of the ids or changed a record that was read: begin
        again. Raises `Unavailable` (whether it was written is then unknown: begin again, and the ids tell) and `StateLost`.
        """
        ...


class SharedState(Protocol):
    schema: FeatureSchema

    def begin(self, tenant: str, entries: Sequence[Entry]) -> Pending:
        """Read and compute; nothing is changed. An id twice in the batch: the second is SAME, or CONFLICT by its body.

        Raises `Unavailable` (unreachable, or no answer in time) and `StateLost`.
        """
        ...

    def settle(self, tenant: str, ids: Sequence[str], *, keep: bool = True) -> None:
        """Their results were emitted for good: they are kept for `answer_ttl_s` more, or not at all. Unknown ids are passed over."""
        ...

    def unsettled(self, tenant: str) -> list[Unsettled]:
        """Results that nobody settled, oldest first."""
        ...

    def waiting(self, tenant: str, ids: Sequence[str]) -> set[str]:
        """Those among the ids whose result nobody settled."""
        ...

    def claim_sweep(self, owner: str) -> bool:
        """Whether this process may emit what was left behind: one at a time, for two minutes at most."""
        ...

    def end_sweep(self) -> None:
        """Let others do it."""
        ...

    def write_rings(self, tenant: str, rows: Mapping[str, bytes]) -> None:
        """Set the second record of users (user -> bytes); b"" removes it."""
        ...

    def read_rings(self, tenant: str, users: Sequence[str]) -> list[bytes | None]:
        """The second records, in the order asked."""
        ...

    def apply(self, items: Sequence[Applied], *, commit: bool = True) -> NDArray[np.float32]:
        """As `StateStore.apply`: without ids. With `commit=False` nothing is changed (looking)."""
        ...

    def stats(self) -> dict[str, int]:
        """keys, bytes (of memory), evicted, conflicts, merges of this process, rebuilding (0 or 1)."""
        ...

    def close(self) -> None: ...
