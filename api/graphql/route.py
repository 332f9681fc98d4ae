"""POST /graphql and its page. Errors have a code from the same table as REST, and never text from the inside."""

from __future__ import annotations

import logging
import secrets
import traceback
from time import perf_counter
from typing import Any

import msgspec
from graphql import GraphQLError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError

from api import pages
from api.graphql.context import Context
from api.graphql.limits import MOST_BYTES, MOST_NESTED, nested
from api.graphql.query import schema
from api.graphql.ready import READY
from api.posts import check_media, read_body
from api.problems import problem_of
from api.served import Served, caller, served
from ingest.card_numbers import mask_card_numbers
from ingest.values import show
from ringwatch import deadline
from ringwatch.errors import BadInput, RingwatchError

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Asked(msgspec.Struct, rename={"operation_name": "operationName"}):
    """The body of a request."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(Asked).decode


async def graphql(request: Request) -> Response:
    """The console for a browser, answers for everybody else."""
    request.scope["ringwatch.route"] = "/graphql"
    if request.method != "POST":
        return pages.console(READY)
    here, who = served(request), caller(request)
    who.need("read")
    check_media(request)
    asked = _read(await read_body(request, MOST_BYTES * 2))
    body = await run_in_threadpool(_answer, Context(here, who), asked)
    took_us = round((perf_counter() - request.scope["ringwatch.started"]) * 1e6, 1)
    body["extensions"] = {
        "timing_us": {"total": took_us}, "degraded": here.degraded(), "ring_age_s": here.engine.glance.ring_age_s,
    }  # fmt: skip
    return Response(_encode(body), 200, None, "application/json")


def _read(body: bytes) -> Asked:
    try:
        asked = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        code = "not_json" if not isinstance(error, msgspec.ValidationError) else "invalid"
        hint = 'send {"query": "...", "variables": {...}}'
        raise BadInput(f"the body is no GraphQL request: {show(error)}", hint=hint, code=code) from None
    if len(asked.query.encode("utf-8", "replace")) > MOST_BYTES:
        raise BadInput(f"the query has over {MOST_BYTES:,} bytes", hint="ask for less at once", code="too_large")
    if nested(asked.query) > MOST_NESTED:
        raise BadInput(f"the query is nested over {MOST_NESTED} deep", hint="ask for less at once", code="too_large")
    return asked


def _answer(context: Context, asked: Asked) -> dict[str, Any]:
    try:
        with deadline.within(context.here.graphql_deadline_s):
            result = schema.execute_sync(asked.query, asked.variables, context, operation_name=asked.operation_name)
    except RecursionError:
        return {"data": None, "errors": [_said("the request is nested too deeply", "too_large")]}
    except MissingQueryError:
        return {"data": None, "errors": [_said("the query is empty", "invalid")]}
    except (CannotGetOperationTypeError, InvalidOperationTypeError):
        return {
            "data": None,
            "errors": [_said("there is no such operation; queries and mutations are answered", "invalid")],
        }
    body: dict[str, Any] = {"data": result.data}
    if result.errors:
        body["errors"] = [_error(context.here, error) for error in result.errors]
    return body


def _error(here: Served, error: GraphQLError) -> dict[str, Any]:
    inner = error.original_error
    while isinstance(inner, GraphQLError):
        inner = inner.original_error
    if inner is None or isinstance(inner, RecursionError):
        code = (error.extensions or {}).get("code", "invalid")
        message = error.message if inner is None else "the request is nested too deeply"
        found = _said(message, str(code))
    elif isinstance(inner, RingwatchError):
        problem = problem_of(inner)
        found = _said(problem.detail, problem.code, hint=problem.hint, field=problem.field)
    else:
        error_id = secrets.token_hex(6)
        trace = "".join(traceback.format_tb(inner.__traceback__))
        log.error("unexpected %s, %s: graphql %s\n%s", type(inner).__name__, error_id, error.path, trace)
        found = _said("something unexpected happened here", "internal", error_id=error_id)
    here.meters.refusals[found["extensions"]["code"]] += 1
    if error.path:
        found["path"] = error.path
    if error.locations:
        found["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    return found


def _said(message: str, code: str, **more: str) -> dict[str, Any]:
    safe = mask_card_numbers(message[:1000])
    return {"message": safe, "extensions": {"code": code, **{k: v for k, v in more.items() if v}}}
