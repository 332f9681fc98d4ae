"""Subscriptions: alerts, rings and cases as they come and change, from where a client left off.

Every change carries a cursor. A client that lost its connection subscribes again with the last cursor it has, and gets what came meanwhile,
each as it is now; so nothing is missed, and what is told twice is told by the same id.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

import strawberry
from graphql import GraphQLError
from starlette.concurrency import run_in_threadpool
from strawberry.types import Info

from api import reads
from api.cursor import read_cursor, write_cursor
from api.graphql import types as t
from api.graphql.cases import CaseLine, line_of
from api.graphql.context import Context, context_of, of, streamed
from api.graphql.ring_history import RingChange, change_of
from api.problems import problem_of
from desk import cases
from ledger.ring_rows import END
from rings.entry import RingEntry
from rings.ring import RingSummary
from ringwatch.errors import RingwatchError
from ringwatch.model import Level

_AT_ONCE = 100
T = TypeVar("T")
Place = tuple[int, str]
log = logging.getLogger(__name__)


@strawberry.type(description="An alert that is new or has grown, as it is now")
class AlertChange:
    alert: t.AlertLine = strawberry.field(description="The alert; ask `alert` for its case and its ring")
    cursor: str = strawberry.field(description="`after` to go on behind this one")


@strawberry.type(description="A case that is new or was changed, as it is now")
class CaseChange:
    case: CaseLine = strawberry.field(description="The case; ask `case` for notes and alerts")
    cursor: str = strawberry.field(description="`after` to go on behind this one")


@strawberry.type(description="Something that happened to a ring")
class RingChanged:
    ring_id: str = of("The ring")
    change: RingChange = of("What happened, as in its timeline")
    ring: t.RingSummary | None = of("The ring as it is now; null where it has ended")
    cursor: str = of("`after` to go on behind this one")


@strawberry.type(description="What comes while one waits. Over WebSocket, with the protocol graphql-transport-ws")
class Subscription:
    @streamed("Alerts as they come and grow; without `after` those from now on. `level`: these and higher ones")
    async def alerts(
        self, info: Info[Any, Any], after: str | None = None, level: str | None = None
    ) -> AsyncGenerator[AlertChange, None]:
        context, question = context_of(info), ["alert changes", context_of(info).tenant]
        least = Level.LOW if level is None else reads.level_of(level)
        ledger = context.here.ledger

        async def more(place: Place) -> list[tuple[Place, AlertChange]]:
            found = await run_in_threadpool(ledger.alerts_changed, place, limit=_AT_ONCE, tenant=context.tenant)
            return [
                (at, AlertChange(alert=t.alert_line(a), cursor=write_cursor(at, question) or "")) for at, a in found
            ]

        async for change in _changes(context, "alerts", after, question, more):
            if Level[change.alert.level] >= least:
                yield change

    @streamed("Cases as they come and are changed; without `after` those from now on")
    async def cases(self, info: Info[Any, Any], after: str | None = None) -> AsyncGenerator[CaseChange, None]:
        context, question = context_of(info), ["case changes", context_of(info).tenant]
        desk = context.here.desk

        async def more(place: Place) -> list[tuple[Place, CaseChange]]:
            found = await run_in_threadpool(cases.changed, desk, context.tenant, place[0], limit=_AT_ONCE)
            return [
                ((c.change, ""), CaseChange(case=line_of(c, desk.clock()), cursor=write_cursor((c.change, ""), question) or ""))
                for c in found
            ]  # fmt: skip

        async for change in _changes(context, "cases", after, question, more):
            yield change

    @streamed("What happens to rings: born, grew, merged, shrank, split, dormant, revived, busted, ended; without `after` from now on. `ring`: to "
              "this one alone; `leastRisk`: to those whose risk is that or more now")  # fmt: skip
    async def rings(
        self, info: Info[Any, Any], after: str | None = None, ring: str | None = None, least_risk: float = 0.0
    ) -> AsyncGenerator[RingChanged, None]:
        context, tenant = context_of(info), context_of(info).tenant
        question, here = ["ring changes", tenant, ring], context.here
        if ring is not None and not reads.is_id(ring):
            raise GraphQLError(
                "ring is no identifier", extensions={"code": "invalid", "hint": "the whole id of a ring"}
            )

        def read(place: Place) -> list[tuple[Place, RingChanged]]:
            found = here.ledger.rings_changed(tenant, place, limit=_AT_ONCE, ring_id=ring)
            ids = sorted({entry.ring_id for _, entry in found})
            now = {s.ring_id: s for s in (here.engine.ask_from(reads.summaries_question(tenant, ids)) if ids else ())}
            return [
                (at, _ring_changed(entry, now.get(entry.ring_id), write_cursor(at, question) or ""))
                for at, entry in found
            ]

        async def more(place: Place) -> list[tuple[Place, RingChanged]]:
            return await run_in_threadpool(read, place)

        async for change in _changes(context, "rings", after, question, more):
            if least_risk <= 0.0 or (change.ring is not None and change.ring.risk >= least_risk):
                yield change


def _ring_changed(entry: RingEntry, now: RingSummary | None, cursor: str) -> RingChanged:
    ring = None if now is None else t.summary_of(now)
    return RingChanged(ring_id=entry.ring_id, change=change_of(entry), ring=ring, cursor=cursor)


async def _changes(
    context: Context, name: str, after: str | None, question: list[Any],
    more: Callable[[Place], Awaitable[list[tuple[Place, T]]]],
) -> AsyncGenerator[T, None]:  # fmt: skip
    """Everything behind `after`, then whatever comes. Who asks is looked at again each time: a revoked key ends it."""
    try:
        feed = context.here.feed
        place = read_cursor(after, question)
        if place is None:
            place = (await feed.head(name), END)
        head = place[0]
        while True:
            found = await more(place)
            context.check()
            for at, change in found:
                place = at
                yield change
            if not found:
                await feed.changed(name, head)
                head = await feed.head(name)
    except RingwatchError as error:
        problem = problem_of(error)
        raise GraphQLError(problem.detail, extensions={"code": problem.code, "hint": problem.hint}) from None
    except GraphQLError:
        raise
    except Exception as error:
        error_id = secrets.token_hex(6)
        log.error("unexpected %s, %s: subscription %s", type(error).__name__, error_id, name, exc_info=error)
        raise GraphQLError(
            "something unexpected happened here", extensions={"code": "internal", "error_id": error_id}
        ) from None
