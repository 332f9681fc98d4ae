"""Port: the entity graph that investigators read.

Written by one graph writer, after the decision, in micro-batches of aggregated links; read by investigators. Applying a
batch and recording its position is one transaction, and a batch at or below the applied position changes nothing, so
redelivery is harmless. Merging is order-independent: earliest first_seen, latest last_seen, summed counts and amounts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from ringwatch.errors import Conflict
from ringwatch.model import Kind


class EntityRef(msgspec.Struct, frozen=True, gc=False):
    tenant: str
    kind: str
    id: str


class EntityUpdate(msgspec.Struct, gc=False):
    """What a batch adds to one entity."""

    ref: EntityRef
    first_seen_us: int
    last_seen_us: int
    events: int
    amount_minor: int
    alerts: int = 0


class LinkUpdate(msgspec.Struct, gc=False):
    """What a batch adds to one link, from a user to another entity of the same tenant."""

    user: EntityRef
    other: EntityRef
    first_seen_us: int
    last_seen_us: int
    events: int
    amount_minor: int
    fails: int = 0


@dataclass(frozen=True, slots=True)
class GraphBatch:
    """Aggregated updates of one stretch of the decisions stream, up to and including `position` of `partition`.

    An end of a link exists even without an update of its own, and is seen whenever its links are.
    """

    entities: Sequence[EntityUpdate]
    links: Sequence[LinkUpdate]
    position: int
    partition: str = "0"
    after: int | None = None
    """The applied position it goes on from, where another writer may have gone further: another one there is a `Conflict`."""

    def missing_at(self, position: int) -> bool:
        """Whether a store at `position` has to apply it. Raises `Conflict` when it goes on from another position."""
        if self.position <= position:
            return False
        if self.after is not None and self.after != position:
            raise Conflict(
                f"graph partition {self.partition} is at {position}, its batch up to {self.position} goes on from {self.after}",
                hint="another writer went on; read the decisions again from the applied position",
            )
        return True


@dataclass(frozen=True, slots=True)
class Node:
    ref: EntityRef
    first_seen_us: int
    last_seen_us: int
    events: int
    amount_minor: int
    alerts: int
    depth: int
    degree: int
    """All links of the entity in the store, read or not."""
    cut: bool = False
    """True when some of its links were left out because of a bound."""


@dataclass(frozen=True, slots=True)
class Link:
    user: EntityRef
    other: EntityRef
    first_seen_us: int
    last_seen_us: int
    events: int
    amount_minor: int
    fails: int


@dataclass(frozen=True, slots=True)
class LinkFilter:
    """Which links are walked; all that is given must hold."""

    kinds: tuple[str, ...] | None = None
    """Of things that links lead to; to users they always may, since things are linked through them."""
    since_us: int | None = None
    until_us: int | None = None
    """since_us <= last_seen_us < until_us"""
    min_events: int = 1

    def leads_to(self, kind: str) -> bool:
        return self.kinds is None or kind == "user" or kind in self.kinds


EVERY_LINK = LinkFilter()


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """A bounded piece of the graph around `root`, and where it was cut."""

    root: EntityRef
    nodes: Sequence[Node]
    links: Sequence[Link]
    cuts: Sequence[str] = field(default_factory=tuple)
    """One sentence for each bound that left something out, for example "ip 1.2.3.4: 20 of 20,412 links read"."""


@dataclass(frozen=True, slots=True)
class Path:
    """A shortest way from one entity to another, or why none is known."""

    nodes: Sequence[Node]
    """From the one to the other; `depth` counts along the way. Empty where none was found and something was left out."""
    links: Sequence[Link]
    """One between each two nodes, in their order."""
    cuts: Sequence[str]
    """One sentence for each bound that left something out: there may be a shorter way through what they name."""


@dataclass(frozen=True, slots=True)
class StoredEntity:
    ref: EntityRef
    first_seen_us: int
    last_seen_us: int
    events: int
    amount_minor: int
    alerts: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Of some entities what is linked to each."""

    entities: Mapping[EntityRef, StoredEntity]
    """Of what is linked and what was asked for besides."""
    linked: Mapping[EntityRef, Sequence[EntityRef]]
    """Latest first; an entity that is not known has nothing or is missing."""
    degrees: Mapping[EntityRef, int]
    """All its links, read or not."""


class ColdLink(msgspec.Struct, frozen=True, gc=False):
    """A link of a cold entity, by its far end."""

    other: EntityRef
    first_seen_us: int
    last_seen_us: int
    events: int


class ColdEntity(msgspec.Struct, frozen=True, gc=False):
    """What the graph still knows of an entity that state has forgotten."""

    first_seen_us: int
    last_seen_us: int
    events: int
    amount_minor: int
    degree: int
    """All its links in the store."""
    links: tuple[ColdLink, ...]
    """The most recent, at most `COLD_LINKS`, latest first."""


COLD_LINKS = 16


class ColdReader(Protocol):
    """What the hot path asks of a graph on a server. Called by scorers, for entities their state does not hold."""

    def cold(self, refs: Sequence[EntityRef], *, deadline_s: float) -> dict[EntityRef, ColdEntity]:
        """The known among `refs`, in one read. Raises `Unavailable` once `deadline_s` is over; never blocks longer."""
        ...


class GraphStore(Protocol):
    def prepare(self, kinds: Sequence[Kind]) -> None:
        """Create or migrate the schema. Idempotent; called once at start-up."""
        ...

    def apply(self, batch: GraphBatch) -> bool:
        """Apply in one transaction with the position; False when it was applied before. Raises `Unavailable`."""
        ...

    def applied_position(self, partition: str = "0") -> int:
        """Position of the last applied batch, -1 when none."""
        ...

    def neighbourhood(
        self,
        root: EntityRef,
        *,
        hops: int = 2,
        degree_cap: int = 50,
        limit: int = 500,
        wanted: LinkFilter = EVERY_LINK,
    ) -> Neighbourhood:
        """Links up to `hops` away, of those that are wanted the most recent `degree_cap` of each entity, at most `limit` nodes in all.

        `degree` counts all links of a node; `cut` and `cuts` tell of wanted ones only. Raises `NotFound` when the root is unknown.
        """
        ...

    def path(
        self, start: EntityRef, end: EntityRef, *, max_hops: int = 6, degree_cap: int = 200, limit: int = 2000
    ) -> Path | None:
        """A shortest way of at most `max_hops` links between two entities of a tenant; of several always the same one. None where
        there is none and nothing was left out.

        No way leads through an entity with more than `degree_cap` links; of an end with more the most recent are read. At most
        `limit` entities are looked at from either end. Raises `NotFound` when an end is unknown.
        """
        ...

    def surroundings(
        self, refs: Sequence[EntityRef], *, also: Sequence[EntityRef] = (), cap: int, limit: int
    ) -> Surroundings:
        """What is linked to each of these by its most recent `cap` links; the first `limit` of `also` and of what is linked, where known,
        as entities. As many reads however many they are.
        """
        ...

    def counts(self) -> dict[str, int]:
        """entities, links, and entities by kind ("entities.user")."""
        ...

    def close(self) -> None: ...
