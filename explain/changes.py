"""What can be thought away of an event: an entity it names with all that hangs on it, or a feature that is not as usual.

Features of the entity's own block are then missing. Of the others those change that are counted over links, by this one link: a user's links and
neighbours, and what the event sums over its entities. Where the entities' links were kept with the decision, another user can be thought away
from one of them or from all: what is counted over their links changes. What a graph network saw of the event was kept, too: it is asked again
without these links (`explain.network`). Without the kept links `user.top_share` and `user.young_neighbours` stay. What an entity is to others
always stays: a session's device, a ring that other things hold together.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import msgspec
import numpy as np
from numpy.typing import NDArray

from explain.others import Others
from features.columns import entity_key
from features.schema import FeatureSchema
from ledger.store import StoredAssessment
from ringwatch.model import DAY_US, MICROSECONDS, Event, Kind, Strength

_DAY_S = DAY_US // MICROSECONDS
_WINDOWS = (
    ("neighbours_1h", _DAY_S // 24),
    ("neighbours_24h", _DAY_S),
    ("neighbours_7d", 7 * _DAY_S),
    ("neighbours_30d", 30 * _DAY_S),
)


_SUMMED = frozenset(("link_new", "neighbours_24h", "fraud_neighbours"))
"""Features of an entity that the event sums over its entities."""


class WithoutEntity(msgspec.Struct, frozen=True, tag="entity"):
    """The event as if it had not named an entity, and its user had no link to it."""

    kind: str
    entity: str


class WithoutUser(msgspec.Struct, frozen=True, tag="user"):
    """The event as if another user had never been on some of its entities."""

    key: int
    """Of the user, as its links have it."""
    kinds: tuple[str, ...]
    """Of these entities, in order."""


class AsUsual(msgspec.Struct, frozen=True, tag="feature"):
    """One feature as it usually is."""

    feature: str
    usual: float | None
    """None: missing."""


Change = WithoutEntity | WithoutUser | AsUsual


Gone = frozenset[tuple[str, int | None]]
"""Links thought away: of the event's entity of a kind, to the entity with a key; None: to the event itself."""


class Variant(msgspec.Struct, frozen=True):
    """An event with its features, the ring its user is in, and the links that are not there."""

    event: Event
    features: NDArray[np.float32]
    ring: str | None
    gone: Gone = frozenset()


def applied(
    schema: FeatureSchema,
    then: StoredAssessment,
    vector: NDArray[np.float32],
    changes: Sequence[Change],
    others: Others,
) -> Variant:
    """`vector` (schema.size,) is left as it is."""
    entities, features, ring = dict(then.event.entities), vector.copy(), then.assessment.ring
    gone = [change for change in changes if isinstance(change, WithoutUser)]
    for kind in sorted({kind for change in gone for kind in change.kinds}):
        others.relink(features, kind, {change.key for change in gone if kind in change.kinds})
    apart = bool(gone) and _shared(schema, vector, entities)
    named = [change.kind for change in changes if isinstance(change, WithoutEntity)]
    for kind in named:
        entities.pop(kind, None)
        _unlink(schema, features, kind)
    others.unlink_user(features, set(named) & then.event.entities.keys())
    usual = [change for change in changes if isinstance(change, AsUsual)]
    for change in usual:
        features[schema.column(change.feature)] = np.nan if change.usual is None else change.usual
    if len(usual) < len(changes) or any(change.feature.partition(".")[2] in _SUMMED for change in usual):
        _recount(schema, features, entities, but={change.feature for change in usual})
    if ring is not None and (named or apart) and not _shared(schema, features, entities):
        ring = None
        features[schema.ring_offset :] = np.nan
    return Variant(msgspec.structs.replace(then.event, entities=entities), features, ring, _gone(then.event, changes))


def _gone(event: Event, changes: Sequence[Change]) -> Gone:
    """An entity is gone for all the others of the event, too; another user on the entities that it is thought away from."""
    found: set[tuple[str, int | None]] = set()
    for change in changes:
        if isinstance(change, WithoutUser):
            found |= {(kind, change.key) for kind in change.kinds}
        elif isinstance(change, WithoutEntity):
            key = entity_key(event.tenant, change.kind, change.entity)
            found |= {(change.kind, None), *((kind, key) for kind in event.entities)}
    return frozenset(found)


def joins(kind: Kind) -> bool:
    """Whether things of the kind can hold a ring together."""
    return kind.strength is Strength.STRONG and not kind.crowded


def _unlink(schema: FeatureSchema, features: NDArray[np.float32], kind: str) -> None:
    """The user without the link, and the entity's block missing."""

    def of(name: str) -> float:
        return float(features[schema.column(f"{kind}.{name}")])

    def less(name: str, when: bool) -> None:
        at = schema.column(name)
        if when and features[at] > 0.0:
            features[at] -= 1.0

    linked_s, fraud, good = of("link_age_s"), of("fraud_labels") > 0.0, of("good_labels") > 0.0
    if linked_s == linked_s:
        less(f"user.{kind}_links_24h", True)
        less(f"user.{kind}_links_all", True)
        less("user.neighbours_all", True)
        for name, _ in _WINDOWS:
            less(f"user.{name}", True)
        less("user.new_neighbours_24h", linked_s <= _DAY_S)
        less("user.new_neighbours_7d", linked_s <= 7 * _DAY_S)
        less("user.fraud_neighbours", fraud)
        less("user.good_neighbours", good and not fraud)
        less("user.departed_neighbours", of("link_departed") == 1.0)
    start = schema.kind_index[kind] * schema.slot_size
    features[start : start + schema.slot_size] = np.nan
    for at, name in enumerate(schema.names[schema.sequence_offset : schema.ring_offset], schema.sequence_offset):
        if name.startswith(f"{kind}."):
            features[at] = np.nan


def _recount(schema: FeatureSchema, features: NDArray[np.float32], entities: dict[str, str], *, but: Set[str]) -> None:
    """What the event sums over its entities."""
    strong = [kind.name for kind in schema.kinds if kind.name in entities and kind.strength is Strength.STRONG]

    def over(name: str) -> NDArray[np.float32]:
        return np.array([features[schema.column(f"{kind}.{name}")] for kind in strong], np.float32)

    features[schema.column("event.entities")] = len(entities)
    for name, of, how in (
        ("event.new_links", "link_new", np.nansum),
        ("event.max_neighbours_24h", "neighbours_24h", _most),
        ("event.fraud_neighbours", "fraud_neighbours", np.nansum),
    ):
        at = schema.column(name)
        if features[at] == features[at] and name not in but:
            features[at] = how(over(of))


def _most(values: NDArray[np.float32]) -> float:
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else np.nan


def _shared(schema: FeatureSchema, features: NDArray[np.float32], entities: dict[str, str]) -> bool:
    """Whether another user is on anything left of the event that can hold a ring together."""
    return any(
        features[schema.column(f"{kind.name}.neighbours_30d")] > 1.0
        for kind in schema.kinds if kind.name in entities and joins(kind)
    )  # fmt: skip
