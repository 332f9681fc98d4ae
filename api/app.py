"""The app factory: routes, one table of error handlers, the guard around it all."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Scope

from api import house, investigate, pages, posts, problems
from api.graphql.route import graphql
from api.graphql.socket import Socket
from api.guard import Guard, unexpected
from api.openapi import document
from api.served import Served, served
from ingest.values import show
from ringwatch.errors import RingwatchError

_NOTE_USE_S = 60.0
_CODES = {404: "not_found", 405: "method", 413: "too_large"}


def build_app(here: Served) -> ASGIApp:
    """The whole service as an ASGI app. Starting it starts the scoring thread, stopping it drains the queue."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        here.engine.start(asyncio.get_running_loop())
        here.cases.start()
        here.feed.start()
        gc.collect()
        gc.freeze()
        noting = asyncio.create_task(_note_key_use(here))
        yield
        noting.cancel()
        await here.feed.stop()
        if here.access.rates is not None:
            await here.access.rates.close()
        await asyncio.to_thread(here.cases.stop)
        await asyncio.to_thread(here.engine.stop)

    app = FastAPI(
        title="Ringwatch", version=here.version, lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.add_route("/v1/score", posts.score, methods=["POST"], include_in_schema=False)
    app.add_route("/v1/events", posts.events, methods=["POST"], include_in_schema=False)
    app.add_route("/v1/labels", posts.labels, methods=["POST"], include_in_schema=False)
    app.include_router(investigate.router)
    app.include_router(house.router)
    app.add_route("/graphql", graphql, methods=["GET", "POST"], include_in_schema=False)
    app.add_route("/docs", pages.docs, methods=["GET"], include_in_schema=False)
    app.add_route("/", pages.start, methods=["GET"], include_in_schema=False)
    described = msgspec.json.encode(document(app, here.version, tuple(here.kinds)))

    async def openapi(_: Request) -> Response:
        return Response(described, 200, None, "application/json")

    app.add_route("/openapi.json", openapi, methods=["GET"], include_in_schema=False)
    app.add_exception_handler(RingwatchError, posts.problem_response)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)
    app.add_exception_handler(Exception, _unexpected)
    hot = {
        ("POST", "/v1/score"): posts.score,
        ("POST", "/v1/events"): posts.events,
        ("POST", "/v1/labels"): posts.labels,
    }
    return Guard(app, here, here.access, here.meters, server_timing, hot, {"/graphql": Socket()})


async def _note_key_use(here: Served) -> None:
    while True:
        await asyncio.sleep(_NOTE_USE_S)
        await asyncio.to_thread(here.access.keys.note_use)


def server_timing(scope: Scope) -> str:
    """The Server-Timing header: milliseconds by stage, and in all."""
    total = f"total;dur={(perf_counter() - scope['ringwatch.started']) * 1e3:.2f}"
    stages: dict[str, float] = scope.get("ringwatch.stages") or {}
    return ", ".join([*(f"{stage};dur={us / 1e3:.2f}" for stage, us in stages.items()), total])


async def _http_problem(request: Request, error: Exception) -> Response:
    """Unknown paths, wrong methods, and what Starlette refuses."""
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "bad_request")
    detail = {
        404: f"there is nothing at {show(request.url.path, quote=True)}",
        405: f"{request.method} is not for this path",
    }.get(error.status_code, "the request is not one we take")
    return _told(request, problems.problem(error.status_code, code, detail, hint="/docs says what there is"), error.headers)  # fmt: skip


async def _validation_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    field = show(".".join(str(part) for part in first["loc"][1:]))
    detail = f"{field} is {show(first.get('input'), quote=True)}: {show(first['msg'])}"
    return _told(request, problems.problem(422, "invalid", detail, hint="/docs says what is taken", field=field))


async def _unexpected(request: Request, error: Exception) -> Response:
    return _told(request, unexpected(request.scope, error))


def _told(request: Request, found: problems.Problem, headers: Any = None) -> Response:
    served(request).meters.refusals[found.code] += 1
    return problems.answer(found, headers)
