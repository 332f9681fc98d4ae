"""Places: entities that many use without being linked by them, such as an ip. A verdict on one is about who used it lately."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from ringwatch.model import Kind, Strength
from scorers.lists import Entry

DAYS, MOST_EVENTS = 30, 20_000
"""Back from its newest event; its latest events that are looked at."""


class Users(Protocol):
    def users_with(self, tenant: str, kind: str, id_: str, *, days: int, limit: int) -> frozenset[str]: ...


def places_of(kinds: Iterable[Kind]) -> set[str]:
    """Kinds that hold no ring together and yet say something of who used them."""
    return {k.name for k in kinds if k.strength is Strength.WEAK or (k.strength is Strength.STRONG and k.crowded)}


def users_of(ledger: Users, kinds: Iterable[Kind]) -> Callable[[Entry], frozenset[str]]:
    """Who used a place lately; nobody, of what is no place."""
    places = places_of(kinds)

    def find(entry: Entry) -> frozenset[str]:
        if entry.kind not in places or entry.tenant is None:
            return frozenset()  # of all tenants: a user of one is not one of another
        return ledger.users_with(entry.tenant, entry.kind, entry.id, days=DAYS, limit=MOST_EVENTS)

    return find
