"""Health, readiness, status, metrics."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool

from api.answers import Health, Ready, Sla, StatusBody
from api.investigate import about
from api.metrics import registry_of
from api.openapi import GUARD_ERRORS, answers_with
from api.read_route import ReadRoute
from api.served import Served, caller, served
from roles.metrics import troubles_of

router = APIRouter(route_class=ReadRoute)
_encode = msgspec.json.Encoder().encode
_OPERATE = "operate"


@router.get("/healthz", **answers_with(Health, ("421", "422")), summary="Is the process there")
async def healthz(request: Request) -> Response:
    return _json(Health("ok"))


@router.get("/readyz", **answers_with(Ready, ("421", "422", "503")), summary="Can it score")
async def readyz(request: Request) -> Response:
    here = served(request)
    ready = here.ready
    return _json(Ready(ready, here.degraded()), 200 if ready else 503)


@router.get("/status", **answers_with(StatusBody, (*GUARD_ERRORS, "422", "503")), summary="How it is going")
async def status(request: Request) -> Response:
    here, who = served(request), caller(request)
    counts = await run_in_threadpool(here.ledger.tenant_counts, who.tenant)
    engine, meters, operator = here.engine, here.meters, _OPERATE in who.scopes
    body = StatusBody(
        version=here.version,
        uptime_s=round(here.clock() - meters.started_s, 1),
        tenant=who.tenant,
        keys_needed=here.access.keys_needed,
        alive=engine.alive,
        queue_depth=engine.depth,
        queue_capacity=engine.capacity,
        sla=msgspec.convert(meters.sla(), Sla),
        counts=counts,
        snapshot_ms=[round(took_ms, 1) for _, took_ms in engine.glance.snapshots],
        snapshot_stall_ms=[round(stall_ms, 1) for stall_ms, _ in engine.glance.snapshots],
        models=engine.glance.models,
        troubles=_sentences(here) if operator else here.degraded(),
        rings=engine.glance.rings if operator else {},
        totals=await run_in_threadpool(_totals, here) if operator else None,
        **about(request, here),
    )
    return _json(body)


def _sentences(here: Served) -> list[str]:
    """What is wrong, with addresses and settings: for those who run it."""
    others = {**here.access.troubles(), **troubles_of(here.roles)}
    return [*here.engine.glance.troubles, *(f"{name}: {text}" for name, text in others.items())]


def _totals(here: Served) -> dict[str, dict[str, int]]:
    """Of all tenants together."""
    graph = here.graph.counts() if here.graph is not None else {}
    return {"state": here.engine.glance.state, "graph": graph, "ledger": here.ledger.counts()}


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Prometheus; needs a key that may `operate`."""
    return Response(generate_latest(registry_of(served(request))), 200, None, CONTENT_TYPE_LATEST)


def _json(content: object, code: int = 200) -> Response:
    return Response(_encode(content), code, None, "application/json")
