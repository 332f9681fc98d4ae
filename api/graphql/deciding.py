"""Deciding over GraphQL: block, watch or allow an entity or a ring, judge sharing innocent; who would be hit; undo; the audit trail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
import strawberry
from strawberry.types import Info

from api import blast as b
from api import reads
from api.cursor import read_cursor
from api.graphql import types as t
from api.graphql.arguments import ActId, After, First, OfEntity, OfKind, OfRing, Why
from api.graphql.connection import Connection, page
from api.graphql.context import Context, bounded, context_of, described
from api.problems import problem_of
from desk import verdicts as v
from desk.chain import Entry
from ringwatch.errors import BadInput, Conflict, NotFound
from scorers.lists import INNOCENT

T = TypeVar("T")
_MOST_ACTS = _MOST_ENTRIES = 100
_MOST_ACCOUNTS = 200


@strawberry.type(description="A decision about an entity or a whole ring; it is undone as one")
class Act:
    id: str = strawberry.field(description="Stands in the audit trail, too")
    verdict: str = strawberry.field(description="block, watch, allow, or innocent")
    kind: str = strawberry.field(description="Kind of the entity, or ring")
    target: str = strawberry.field(description="The entity, or the ring")
    who: str = strawberry.field(description="Who decided")
    at: str = strawberry.field(description="When it was decided or, if it was, still in force from")
    reason: str = strawberry.field(description="Why, in the words of who decided")
    until: str | None = strawberry.field(description="In event time; null: until it is undone")
    entries: int = strawberry.field(description="Entities it put on the list")
    undone_at: str | None = strawberry.field(description="Null while it is in force")
    undone_by: str | None = strawberry.field(description="Who undid it; null while it is in force")


@strawberry.type(description="Why something was not done, for whoever can do something about it")
class Refused:
    code: str = strawberry.field(description="Stable: invalid, conflict, not_found, ...")
    message: str = strawberry.field(description="What is wrong, with the value")
    hint: str = strawberry.field(description="What to do")
    field: str | None = strawberry.field(description="The input it is about; null where it is about none")


@strawberry.type(description="An account that a decision would hit")
class HitAccount:
    user: str = strawberry.field(description="The user")
    first_at: str | None = strawberry.field(description="First seen; null where the graph does not know it yet")
    events: int = strawberry.field(description="Its events so far")
    never_flagged: bool = strawberry.field(description="None of its events was ever alerted")
    long_clean: bool = strawberry.field(description="Known for 90 days and never alerted")
    open_orders: int = strawberry.field(
        description="Orders of the 14 days before the newest event, neither refused nor refunded"
    )
    open_minor: t.Long = strawberry.field(description="Their sum, in minor units of the tenant's currency")


@strawberry.type(description="Who would be hit by a decision, before it is made")
class BlastRadius:
    entries: int = strawberry.field(description="Entities that would be put on the list")
    accounts: int = strawberry.field(description="Users with any of them")
    never_flagged: int = strawberry.field(description="Of these, users that were never alerted")
    long_clean: int = strawberry.field(description="Of these, users known for 90 days that were never alerted")
    open_orders: int = strawberry.field(description="Open orders of all of them")
    open_minor: t.Long = strawberry.field(description="Their sum, in minor units of the tenant's currency")
    hit: list[HitAccount] = strawberry.field(description="At most 200: those with a clean history first")
    cuts: list[str] = strawberry.field(description="What was not looked at; empty: these are all")


@strawberry.type(description="One entry of the audit trail")
class AuditEntry:
    number: int = strawberry.field(description="From 1, without a gap")
    at: str = strawberry.field(description="When it was done")
    who: str = strawberry.field(description="Who did it")
    did: str = strawberry.field(description="What was done")
    kind: str = strawberry.field(description="Kind of what it was done to")
    target: str = strawberry.field(description="What it was done to")
    old: str | None = strawberry.field(description="What was before, as JSON; null: nothing")
    new: str | None = strawberry.field(description="What is after, as JSON; null: nothing")
    why: str = strawberry.field(description="The reason that was given")
    hash: str = strawberry.field(description="Keyed hash over this entry and the one before")


@strawberry.input(description="What is to be decided. Name `kind` and `id` of an entity, or a `ring`")
class Decision:
    verdict: str = strawberry.field(description="block, watch, allow, or innocent")
    reason: str = strawberry.field(description="Why; stands with every event it decides, and in the audit trail")
    kind: str | None = strawberry.field(default=None, description="Kind of the entity")
    id: str | None = strawberry.field(default=None, description="The entity")
    ring: str | None = strawberry.field(default=None, description="A ring: its members, and what they share")
    shared: bool = strawberry.field(default=True, description="Of a ring: also what its members share by strong links")
    until: str | None = strawberry.field(default=None, description="ISO 8601 with a zone; without: until it is undone")


ActResult = Annotated[Act | Refused, strawberry.union("ActResult", description="The act, or why there is none")]


@strawberry.type
class DecidingQueries:
    @described(
        "Who would be hit by a decision about an entity (`kind`, `id`) or a `ring`. `shared`: of a ring also what its "
        "members share by strong links"
    )
    def blast_radius(
        self, info: Info[Any, Any], kind: OfKind = None, id: OfEntity = None, ring: OfRing = None,
        shared: bool = True,
    ) -> BlastRadius:  # fmt: skip
        context = context_of(info)
        about = b.target_of(context.here, kind, id, ring)
        return _blast_of(b.blast(context.here, context.tenant, about, shared=shared))

    @described("What was decided, the last decided or undone first; at most 100 at once")
    def acts(self, info: Info[Any, Any], first: First = 20, after: After = None) -> Connection[Act]:
        context = context_of(info)
        question, limit = ["acts", context.tenant], bounded(first, _MOST_ACTS)
        found = v.acts(context.here.desk, context.tenant, limit=limit + 1, before=_place(after, question))
        return page(found, act_of, lambda a: (a.number, ""), first=limit, after=after, question=question)

    @described("Who did what, newest first; at most 100 at once. `kind` and `target`: only what was done to these")
    def audit(
        self, info: Info[Any, Any], first: First = 20, after: After = None, kind: str | None = None,
        target: str | None = None,
    ) -> Connection[AuditEntry]:  # fmt: skip
        context = context_of(info)
        question, limit = ["audit", context.tenant, kind, target], bounded(first, _MOST_ENTRIES)
        before = _place(after, question)
        found = context.here.desk.entries(context.tenant, limit=limit + 1, before=before, kind=kind, target=target)
        return page(found, _entry_of, lambda e: (e.number, ""), first=limit, after=after, question=question)


@strawberry.type
class DecidingMutations:
    @described("Block, watch or allow an entity or a ring: events that are scored from now on are decided by it. `innocent`: users share this "
               "device, card, address, ... as a household, a shop or a campus does, so that it no longer speaks against the rings that "
               "lean on it")  # fmt: skip
    def decide(self, info: Info[Any, Any], input: Decision) -> ActResult:
        return or_refused(lambda: _decide(context_of(info), input))

    @described("Undo an act, as a whole; another's needs a key that may `lead`")
    def undo(self, info: Info[Any, Any], act_id: ActId, reason: Why) -> ActResult:
        return or_refused(lambda: _undo(context_of(info), act_id, reason))


def or_refused(do: Callable[[], T]) -> T | Refused:
    """What a person can act on comes as a value; the rest as an error."""
    try:
        return do()
    except (BadInput, Conflict, NotFound) as error:
        found = problem_of(error)
        return Refused(code=found.code, message=found.detail, hint=found.hint, field=found.field or None)


def _decide(context: Context, wanted: Decision) -> Act:
    context.who.need("act")
    here = context.here
    about = b.target_of(here, wanted.kind, wanted.id, wanted.ring)
    if wanted.verdict == INNOCENT:
        b.can_be_innocent(here, about)
    entities = b.entities_of(here, context.tenant, about, shared=wanted.shared)
    until_us = None if wanted.until is None else reads.time_of(wanted.until, "until")
    wish = v.Wish(context.tenant, context.who.name, wanted.verdict, about, entities, wanted.reason, until_us)
    made = v.decide(here.desk, wish)
    here.decided()
    return act_of(made)


def _undo(context: Context, act_id: str, reason: str) -> Act:
    context.who.need("act")
    who = context.who
    made = v.undo(context.here.desk, context.tenant, who.name, act_id, reason, of_others=who.leads)
    context.here.decided()
    return act_of(made)


def act_of(a: v.Decided) -> Act:
    return Act(
        id=a.act_id, verdict=a.verdict, kind=a.kind, target=a.target, who=a.who, at=t.time(a.at_us), reason=a.why,
        until=None if a.until_us is None else t.time(a.until_us), entries=a.entries,
        undone_at=None if a.undone_us is None else t.time(a.undone_us), undone_by=a.undone_by,
    )  # fmt: skip


def _blast_of(found: b.Blast) -> BlastRadius:
    return BlastRadius(
        entries=len(found.entities), accounts=len(found.accounts),
        never_flagged=sum(a.never_flagged for a in found.accounts), long_clean=sum(a.long_clean for a in found.accounts),
        open_orders=sum(a.open_orders for a in found.accounts), open_minor=t.Long(sum(a.open_minor for a in found.accounts)),
        hit=[
            HitAccount(
                user=a.user, first_at=None if a.node is None else t.time(a.node.first_seen_us),
                events=0 if a.node is None else a.node.events, never_flagged=a.never_flagged, long_clean=a.long_clean,
                open_orders=a.open_orders, open_minor=t.Long(a.open_minor),
            )
            for a in found.accounts[:_MOST_ACCOUNTS]
        ],
        cuts=list(found.cuts),
    )  # fmt: skip


def _entry_of(e: Entry) -> AuditEntry:
    plain = msgspec.structs.asdict(e)
    return AuditEntry(
        **{k: plain[k] for k in ("number", "who", "did", "kind", "target", "why", "hash")}, at=t.time(e.at_us),
        old=e.old or None, new=e.new or None,
    )  # fmt: skip


def _place(after: str | None, question: list[Any]) -> int | None:
    place = read_cursor(after, question)
    return None if place is None else place[0]
