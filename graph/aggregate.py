"""Decisions folded into what they add to entities and links: the pure half of the graph writer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from graph.store import EntityRef, EntityUpdate, GraphBatch, LinkUpdate
from ringwatch.model import Event, Kind, Level, Strength
from scorers.decision import Decisions

FAILED_OUTCOMES = frozenset(("declined", "failed"))
_K = TypeVar("_K")


class _Tally(msgspec.Struct, gc=False):
    """Sums of an entity or link. Out of the garbage collector's sight: walking 100,000 of them doubled the cost."""

    first_us: int
    last_us: int
    events: int
    amount_minor: int
    extra: int
    """Alerts of an entity, failed events of a link."""

    def values(self) -> tuple[int, int, int, int, int]:
        return self.first_us, self.last_us, self.events, self.amount_minor, self.extra


class _Table:
    """Pending tallies of one tenant and kind: of its entities by id, of the links to them by user and id."""

    __slots__ = ("entities", "links")

    def __init__(self) -> None:
        self.entities: dict[str, _Tally] = {}
        self.links: dict[tuple[str, str], _Tally] = {}


class Aggregator:
    """Pending updates of entities and links, merged as they come: earliest first_seen, latest last_seen, sums.

    Entities are the users and everything of a kind that links users (strength WEAK or STRONG); kinds that link nobody
    (a session, a sku) would be lonely nodes and stay out. A link goes from the event's user to each such entity. An
    amount counts in full on every entity and link of its event. Not thread-safe.
    """

    def __init__(self, schema_kinds: Sequence[Kind]) -> None:
        linking = (k.name for k in schema_kinds if k.strength is not Strength.NONE and k.name != "user")
        self._kinds = ("user", *linking)
        self._tenants: dict[str, dict[str, _Table]] = {}

    @property
    def links(self) -> int:
        """Distinct links pending."""
        return sum(len(table.links) for tables in self._tenants.values() for table in tables.values())

    @property
    def entities(self) -> int:
        """Distinct entities pending."""
        return sum(len(table.entities) for tables in self._tenants.values() for table in tables.values())

    def add(self, decisions: Decisions, *, start: int = 0) -> None:
        """Fold the rows from `start` on."""
        alerted = (decisions.level >= Level.HIGH).tolist()
        for row in range(start, len(decisions.events)):
            self.add_event(decisions.events[row], alerted=alerted[row])

    def add_event(self, event: Event, *, alerted: bool) -> None:
        """Fold one event; `alerted`: its level is HIGH or CRITICAL."""
        tables = self._tenants.get(event.tenant) or self._new_tenant(event.tenant)
        at, amount = event.at_us, event.amount_minor or 0
        alert = 1 if alerted else 0
        fail = 1 if event.outcome in FAILED_OUTCOMES else 0
        user = event.entities.get("user")
        for kind, id_ in event.entities.items():
            table = tables.get(kind)
            if table is None:
                continue
            _fold(table.entities, id_, at, amount, alert)
            if user is not None and kind != "user":
                _fold(table.links, (user, id_), at, amount, fail)

    def _new_tenant(self, tenant: str) -> dict[str, _Table]:
        return self._tenants.setdefault(tenant, {kind: _Table() for kind in self._kinds})

    def take(self, position: int, partition: str = "0", *, after: int | None = None) -> GraphBatch:
        """Everything pending as one batch that goes on from the applied position `after`: by tenant, kind and id (links: by the far
        end, then user), in sorted order.

        Nothing is pending afterwards.
        """
        entities: list[EntityUpdate] = []
        links: list[LinkUpdate] = []
        for tenant, tables in sorted(self._tenants.items()):
            users = {id_: EntityRef(tenant, "user", id_) for id_ in tables["user"].entities}
            for kind, table in sorted(tables.items()):
                refs = users if kind == "user" else {id_: EntityRef(tenant, kind, id_) for id_ in table.entities}
                entities += [EntityUpdate(refs[id_], *tally.values()) for id_, tally in sorted(table.entities.items())]
                links += [
                    LinkUpdate(users[user], refs[id_], *tally.values())
                    for (user, id_), tally in sorted(table.links.items())
                ]
        self._tenants = {}
        return GraphBatch(entities, links, position, partition, after)


def _fold(pending: dict[_K, _Tally], key: _K, at_us: int, amount_minor: int, extra: int) -> None:
    tally = pending.get(key)
    if tally is None:
        pending[key] = _Tally(at_us, at_us, 1, amount_minor, extra)
        return
    if at_us < tally.first_us:
        tally.first_us = at_us
    if at_us > tally.last_us:
        tally.last_us = at_us
    tally.events += 1
    tally.amount_minor += amount_minor
    tally.extra += extra
