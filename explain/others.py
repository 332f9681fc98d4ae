"""The other users on an event's entities, from the links that were kept with its decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.columns import entity_key
from features.record import LINK_DEPARTED, LINK_FRAUD, LINK_GOOD, LINK_PROMO, LINK_YOUNG, LINKS
from features.schema import FeatureSchema
from features.seen import relinked, unpack
from ledger.store import StoredAssessment
from ringwatch.model import MICROSECONDS

FLAGS = (
    (LINK_FRAUD, "confirmed as fraud"),
    (LINK_GOOD, "confirmed as good"),
    (LINK_YOUNG, "under a day old when it came"),
    (LINK_DEPARTED, "had left another for it"),
    (LINK_PROMO, "redeemed a promotion within a day of its sign-up"),
)
"""What is known of a link, in words; as of the event."""
_RELINKED = (
    "neighbours_1h", "neighbours_24h", "neighbours_7d", "neighbours_30d", "neighbours_all", "new_neighbours_24h",
    "new_neighbours_7d", "young_neighbours", "top_share", "fraud_neighbours", "good_neighbours", "departed_neighbours",
    "promo_neighbours",
)  # fmt: skip
"""In the order of `features.links.link_features`."""
_ALL = _RELINKED.index("neighbours_all")


class Sought(NamedTuple):
    """A user known by its key alone, and where it was last seen."""

    key: int
    kind: str
    entity: str
    at_s: int
    """Second of its last event there."""


NamesOf = Callable[[Sequence[Sought]], dict[int, str]]
"""Names of the users that can still be told; the others are told by `key_name`."""


def key_name(key: int) -> str:
    return f"key:{key:016x}"


class Others:
    """Of one decision; of an older one, or one without an alert, nothing is known."""

    def __init__(self, schema: FeatureSchema, then: StoredAssessment) -> None:
        """Raises Corrupt."""
        self._schema, self._then, self.known = schema, then, bool(then.links)
        rows = unpack(then.links)
        self._of = {schema.kinds[slot].name: rows[rows["slot"] == slot] for slot in np.unique(rows["slot"]).tolist()}

    @cached_property
    def by_user(self) -> dict[int, dict[str, Any]]:
        """Key -> kind of the event's entity -> the link; without the event's own user."""
        own = self._key("user", self._then.event.user or "")
        found: dict[int, dict[str, Any]] = {}
        for kind, rows in self._of.items():
            for row in rows if kind != "user" else ():
                if int(row["key"]) != own:
                    found.setdefault(int(row["key"]), {})[kind] = row
        return found

    def relink(self, features: NDArray[np.float32], kind: str, gone: Set[int]) -> None:
        """Counts over links of the event's entity of a kind, without those to these keys. Where all 16 places were taken, how many there
        ever were is a sketch, and is lowered by as many."""
        rows = self._of.get(kind)
        if rows is None:
            return
        left = rows[~np.isin(rows["key"], np.array(sorted(gone), np.uint64))]
        if len(left) == len(rows):
            return
        made = relinked(left, self._then.event.at_us // MICROSECONDS, is_user=kind == "user")
        columns = [self._schema.column(f"{kind}.{name}") for name in _RELINKED]
        if len(rows) == LINKS:
            ever = float(self._then.features[f"{kind}.neighbours_all"])
            made[_ALL] = max(float(len(left)), ever - (len(rows) - len(left)))
        features[columns] = made

    def unlink_user(self, features: NDArray[np.float32], kinds: Set[str]) -> None:
        """Counts over links of the user without its links to the event's entities of these kinds."""
        entities = self._then.event.entities
        self.relink(features, "user", {self._key(kind, entities[kind]) for kind in kinds if kind in entities})

    def sought(self, key: int) -> Sought:
        kind, row = max(self.by_user[key].items(), key=lambda one: (int(one[1]["last_s"]), one[0]))
        return Sought(key, kind, self._then.event.entities[kind], int(row["last_s"]))

    def _key(self, kind: str, entity: str) -> int:
        return entity_key(self._then.event.tenant, kind, entity)


def warm() -> None:
    """So that the first explanation does not wait for the compiler."""
    relinked(unpack(b""), 0, is_user=False)


def names_from(tenant: str, users: Set[str], sought: Sequence[Sought]) -> dict[int, str]:
    """Of these users those that are sought."""
    keys = {one.key for one in sought}
    return {key: user for user in sorted(users) if (key := entity_key(tenant, "user", user)) in keys}
