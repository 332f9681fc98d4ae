"""Decisions folded into what they add to entities and links: the pure half of the graph writer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from graph.store import EntityRef, EntityUpdate, GraphBatch, LinkUpdate
from ringwatch.model import Kind, Level, Strength
from scorers.decision import Decisions

FAILED_OUTCOMES = frozenset(("declined", "failed"))
_FIRST, _LAST, _EVENTS, _AMOUNT, _EXTRA = range(5)
_Key = tuple[str, str, str]
_Tally = list[int]
_K = TypeVar("_K")


class Aggregator:
    """Pending updates of entities and links, merged as they come: earliest first_seen, latest last_seen, sums.

    Entities are the users and everything of a kind that links users (strength WEAK or STRONG); kinds that link nobody
    (a session, a sku) would be lonely nodes and stay out. A link goes from the event's user to each such entity. An
    amount counts in full on every entity and link of its event. Not thread-safe.
    """

    def __init__(self, schema_kinds: Sequence[Kind]) -> None:
        self._linking = frozenset(k.name for k in schema_kinds if k.strength is not Strength.NONE and k.name != "user")
        self._entities: dict[_Key, _Tally] = {}
        self._links: dict[tuple[_Key, _Key], _Tally] = {}

    @property
    def links(self) -> int:
        """Distinct links pending."""
        return len(self._links)

    @property
    def entities(self) -> int:
        """Distinct entities pending."""
        return len(self._entities)

    def add(self, decisions: Decisions, *, start: int = 0) -> None:
        """Fold the rows from `start` on."""
        linking, entities, links = self._linking, self._entities, self._links
        alerted = (decisions.level >= Level.HIGH).tolist()
        for row in range(start, len(decisions.events)):
            event = decisions.events[row]
            at, amount, tenant = event.at_us, event.amount_minor or 0, event.tenant
            alert = 1 if alerted[row] else 0
            fail = 1 if event.outcome in FAILED_OUTCOMES else 0
            user = event.entities.get("user")
            source: _Key | None = None
            if user is not None:
                source = (tenant, "user", user)
                _fold(entities, source, at, amount, alert)
            for kind, id_ in event.entities.items():
                if kind not in linking:
                    continue
                key = (tenant, kind, id_)
                _fold(entities, key, at, amount, alert)
                if source is not None:
                    _fold(links, (source, key), at, amount, fail)

    def take(self, position: int, partition: str = "0") -> GraphBatch:
        """Everything pending as one batch, sorted by tenant, kind and id; nothing is pending afterwards."""
        refs = {key: EntityRef(*key) for key in self._entities}
        entities = [EntityUpdate(refs[key], *tally) for key, tally in sorted(self._entities.items())]
        links = [LinkUpdate(refs[u], refs[o], *tally) for (u, o), tally in sorted(self._links.items())]
        self._entities, self._links = {}, {}
        return GraphBatch(entities, links, position, partition)


def _fold(pending: dict[_K, _Tally], key: _K, at_us: int, amount_minor: int, extra: int) -> None:
    tally = pending.get(key)
    if tally is None:
        pending[key] = [at_us, at_us, 1, amount_minor, extra]
        return
    if at_us < tally[_FIRST]:
        tally[_FIRST] = at_us
    if at_us > tally[_LAST]:
        tally[_LAST] = at_us
    tally[_EVENTS] += 1
    tally[_AMOUNT] += amount_minor
    tally[_EXTRA] += extra
