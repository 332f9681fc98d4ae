"""Who would be hit by a decision about an entity or a ring: looked at before it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api import reads
from api.served import Served
from desk.places import places_of
from desk.verdicts import Target
from graph.store import EntityRef, StoredEntity
from ingest.values import show
from rings.ring import Ring
from ringwatch.errors import BadInput
from ringwatch.model import DAY_US, Event, Strength

RING = "ring"
LONG_DAYS = 90
"""An account that was first seen so long ago and never alerted has a long clean history."""
_MOST_LINKS = 500
"""Of one entity."""
_MOST_LOOKED_UP = 1_000
_USER = "user"
ORDERS_DAYS = 14
"""Orders placed so long before the newest event and since neither refused nor refunded count as open."""
_MOST_EVENTS = 10_000


@dataclass(frozen=True, slots=True)
class Account:
    """A user that would be hit; what the graph does not know yet is None."""

    user: str
    node: StoredEntity | None
    long_clean: bool
    open_orders: int = 0
    open_minor: int = 0
    """Sum of their amounts, in the tenant's currency."""

    @property
    def never_flagged(self) -> bool:
        return self.node is None or self.node.alerts == 0


@dataclass(frozen=True, slots=True)
class Blast:
    about: Target
    entities: tuple[Target, ...]
    """What would be put on the list."""
    accounts: tuple[Account, ...]
    """Users with any of these: never flagged and clean ones first, by name."""
    cuts: tuple[str, ...]
    """What was not looked at, one sentence each; empty: these are all."""


def target_of(here: Served, kind: str | None, id_: str | None, ring: str | None) -> Target:
    """Raises BadInput where it is not one entity or one ring."""
    if (ring is None) == (kind is None and id_ is None):
        raise BadInput("an entity and a ring are given, or neither", hint="name kind and id, or ring", field="ring")
    if ring is not None:
        return RING, _text(ring, "ring")
    known = [k.name for k in here.kinds]
    if kind not in known:
        message = f"kind is {show(kind or '', quote=True)}"
        raise BadInput(message, hint=f"one of {', '.join(known)}", field="kind")
    return kind, _text(id_ or "", "id")


def _text(text: str, field: str) -> str:
    if not reads.is_id(text):
        hint = f"1 to {reads.MAX_TEXT} printable characters"
        raise BadInput(f"{field} is {show(text, quote=True)}", hint=hint, field=field)
    return text


def entities_of(here: Served, tenant: str, about: Target, *, shared: bool = True) -> tuple[Target, ...]:
    """What a decision about it would list: an entity itself; of a ring its members and, with `shared`, what they share by strong links and
    not innocently. Raises NotFound for a ring there is not."""
    kind, id_ = about
    if kind != RING:
        return (about,)
    ring: Ring | None = here.engine.ask_from(reads.ring_question(tenant, id_))
    if ring is None:
        raise reads.no_ring(id_)
    strong = _joining(here)
    things = [(s.kind, s.entity) for s in ring.shared if shared and s.kind in strong and not s.verdict]
    return (*((_USER, m.user) for m in ring.members), *things)


def can_be_innocent(here: Served, about: Target) -> None:
    """Raises BadInput where it neither holds rings together nor is a place."""
    kinds = sorted(_joining(here) | places_of(here.kinds))
    if about[0] not in kinds:
        hint = f"name a thing of one of the kinds {', '.join(kinds)}"
        raise BadInput(f"no ring leans on a {about[0]}", hint=hint, field="kind")


def _joining(here: Served) -> set[str]:
    """Kinds that hold rings together."""
    return {k.name for k in here.kinds if k.strength is Strength.STRONG and not k.crowded and k.name != _USER}


def blast(here: Served, tenant: str, about: Target, *, shared: bool = True) -> Blast:
    entities = entities_of(here, tenant, about, shared=shared)
    graph, cuts = here.graph, []
    if graph is None:
        cuts.append("there is no graph here: only accounts that are named themselves are told")
    users: dict[str, StoredEntity | None] = {id_: None for kind, id_ in entities if kind == _USER}
    if graph is not None:
        named = [EntityRef(tenant, _USER, user) for user in users]
        things = [EntityRef(tenant, kind, id_) for kind, id_ in entities if kind != _USER]
        found = graph.surroundings(things, also=named, cap=_MOST_LINKS, limit=_MOST_LOOKED_UP)
        near = dict.fromkeys([*named, *(ref for some in found.linked.values() for ref in some if ref.kind == _USER)])
        users = {ref.id: found.entities.get(ref) for ref in near}
        for ref, links in found.linked.items():
            if (degree := found.degrees[ref]) > len(links):
                cuts.append(f"{ref.kind} {ref.id}: {len(links):,} of {degree:,} links read")
    if len(users) > _MOST_LOOKED_UP:
        cuts.append(f"of {len(users):,} accounts {_MOST_LOOKED_UP:,} were looked at")
    now_us = here.engine.ask_from(lambda scoring: scoring.stream.watermark_us)
    orders, cut = _open_orders(here, tenant, sorted(users)[:_MOST_LOOKED_UP], now_us)
    cuts += cut
    accounts = [_account(user, node, now_us, orders.get(user, ())) for user, node in users.items()]
    accounts.sort(key=lambda a: (not a.long_clean, not a.never_flagged, a.user))
    return Blast(about, entities, tuple(accounts), tuple(cuts))


def _open_orders(
    here: Served, tenant: str, users: Sequence[str], now_us: int | None
) -> tuple[dict[str, list[Event]], list[str]]:
    """Of each user that has any; and what was not looked at."""
    if now_us is None:
        return {}, []
    since_us = now_us - ORDERS_DAYS * DAY_US
    events = here.ledger.events_of_users(tenant, users, since_us=since_us, until_us=now_us + 1, limit=_MOST_EVENTS)
    refunded = {(e.user, e.order_id) for e in events if e.type == "refund" and e.order_id is not None}
    found: dict[str, list[Event]] = {}
    for e in events:
        placed = e.type == "order" and e.outcome not in ("declined", "failed") and e.user is not None
        if placed and (e.user, e.order_id) not in refunded:
            found.setdefault(str(e.user), []).append(e)
    cut = f"open orders: of these accounts' last {ORDERS_DAYS} days {_MOST_EVENTS:,} events were looked at"
    return found, [cut] if len(events) == _MOST_EVENTS else []


def _account(user: str, node: StoredEntity | None, now_us: int | None, orders: Sequence[Event]) -> Account:
    """`now_us`: the newest event's time."""
    old = node is not None and now_us is not None and now_us - node.first_seen_us >= LONG_DAYS * DAY_US
    long_clean = old and node is not None and node.alerts == 0
    return Account(user, node, long_clean, len(orders), sum(e.amount_minor or 0 for e in orders))
