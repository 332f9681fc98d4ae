"""GET of alerts, assessments and rings: what an investigator reads."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from api import reads
from api.answers import AlertDetail, AlertPage, AssessmentDetail, RingDetail, RingPage
from api.openapi import READ_ERRORS, answers_with
from api.read_route import ReadRoute
from api.served import Served, caller, served
from graph.alert_query import alert_query
from rings.as_of import MOST_SHOWN, latest
from rings.page import content_security_policy, ring_page
from rings.ring import Ring
from ringwatch.model import Alert

router = APIRouter(route_class=ReadRoute)
_encode = msgspec.json.Encoder().encode
_ALERTS_OF_RING = 50
Text = Annotated[str | None, Query(min_length=1, max_length=reads.MAX_TEXT)]
Id = Annotated[str, Path(min_length=1, max_length=reads.MAX_TEXT)]


@router.get("/v1/alerts", **answers_with(AlertPage, READ_ERRORS), summary="Alerts, newest last event first")
async def alerts(
    request: Request,
    level: Annotated[Text, Query(description="LOW, MEDIUM, HIGH or CRITICAL", examples=["CRITICAL"])] = None,
    pattern: Annotated[Text, Query(description="A fraud pattern named by one of its events")] = None,
    ring: Annotated[Text, Query(description="The ring it is about")] = None,
    kind: Annotated[Text, Query(description="Kind of the entity it is about")] = None,
    entity: Annotated[Text, Query(description="The entity it is about; needs `kind`")] = None,
    account: Annotated[Text, Query(description="An account concerned")] = None,
    delivery: Annotated[Text, Query(description="now or digest")] = None,
    since: Annotated[Text, Query(description="Last event at or after, ISO 8601 with zone")] = None,
    until: Annotated[Text, Query(description="Last event before, ISO 8601 with zone")] = None,
    limit: Annotated[int, Query(ge=1, le=reads.MOST_ALERTS)] = 50,
    after: Annotated[str | None, Query(description="`next` of the page before", max_length=512)] = None,
) -> Response:
    here, who = served(request), caller(request)
    texts = {"level": level, "pattern": pattern, "ring": ring, "kind": kind, "entity": entity, "account": account}
    wanted = reads.alert_filter({**texts, "delivery": delivery, "since": since, "until": until})
    page, more = await run_in_threadpool(reads.alert_page, here, who.tenant, wanted, limit, after)
    return _json(AlertPage(alerts=page, next=more, **about(request, here)))


@router.get("/v1/alerts/{alert_id}", **answers_with(AlertDetail, READ_ERRORS), summary="An alert with its events")
async def alert(request: Request, alert_id: Id) -> Response:
    here, who = served(request), caller(request)
    found = await run_in_threadpool(reads.alert_of, here, who.tenant, alert_id)
    stored = await run_in_threadpool(here.ledger.events_of, found, limit=reads.MOST_EVENTS)
    events = [reads.alert_event(s) for s in stored]
    return _json(AlertDetail(alert=found, events=events, query=alert_query(found), **about(request, here)))


@router.get(
    "/v1/assessments/{event_id}", **answers_with(AssessmentDetail, READ_ERRORS), summary="What an event was given"
)
async def assessment(request: Request, event_id: Id) -> Response:
    here, who = served(request), caller(request)
    found = reads.alert_event(await run_in_threadpool(reads.stored_of, here, who.tenant, event_id))
    return _json(
        AssessmentDetail(
            event=found.event, features=found.features, assessment=found.assessment, **about(request, here)
        )
    )


@router.get("/v1/rings", **answers_with(RingPage, READ_ERRORS), summary="Rings, highest risk first")
async def rings(
    request: Request,
    least_users: Annotated[int, Query(ge=2, le=1_000_000, description="Only with at least so many users")] = 2,
    limit: Annotated[int, Query(ge=1, le=reads.MOST_RINGS)] = 100,
) -> Response:
    here, who = served(request), caller(request)
    found = await here.engine.ask(reads.rings_question(who.tenant, least_users))
    return _json(RingPage(rings=found[:limit], **about(request, here)))


@router.get(
    "/v1/rings/{ring_id}", **answers_with(RingDetail, READ_ERRORS), summary="A ring: members, what they share, risk"
)
async def ring(request: Request, ring_id: Id) -> Response:
    here, found = await _ring(request, ring_id)
    about_it = await run_in_threadpool(
        here.ledger.alerts_of_ring, found.summary.tenant, found.summary.ring_id, limit=_ALERTS_OF_RING
    )
    return _json(RingDetail(ring=found, alerts=list(about_it), **about(request, here)))


@router.get("/rings/{ring_id}/view", include_in_schema=False)
async def ring_view(request: Request, ring_id: Id) -> Response:
    """The ring as a page."""
    here, found = await _ring(request, ring_id)
    about_it = await run_in_threadpool(
        here.ledger.alerts_of_ring, found.summary.tenant, found.summary.ring_id, limit=_ALERTS_OF_RING
    )
    page = await run_in_threadpool(_drawn, here, found, about_it)
    return Response(page, 200, {"content-security-policy": content_security_policy()}, "text/html")


def _drawn(here: Served, ring: Ring, about_it: Sequence[Alert]) -> str:
    """The page, each alert with the reasons of its highest scored event."""
    top = {alert.alert_id: alert.top_event_id for alert in about_it}
    reasons = here.ledger.reasons(ring.summary.tenant, list(top.values()))
    told = {alert_id: reasons.get(event, ()) for alert_id, event in top.items()}
    s = ring.summary
    history = latest(lambda after: here.ledger.ring_history(s.tenant, s.ring_id, after=after), MOST_SHOWN)
    return ring_page(ring, about_it, reasons=told, money=here.money, history=history)


async def _ring(request: Request, ring_id: str) -> tuple[Served, Ring]:
    here, who = served(request), caller(request)
    found: Ring | None = await here.engine.ask(reads.ring_question(who.tenant, ring_id))
    if found is None:
        raise reads.no_ring(ring_id)
    return here, found


def about(request: Request, here: Served) -> dict[str, Any]:
    total_us = (perf_counter() - request.scope["ringwatch.started"]) * 1e6
    return {
        "timing_us": {"read": round(total_us, 1)},
        "degraded": here.degraded(),
        "ring_age_s": here.engine.glance.ring_age_s,
    }


def _json(content: object) -> Response:
    return Response(_encode(content), 200, None, "application/json")
