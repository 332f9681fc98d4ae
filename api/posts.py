"""POST /v1/score, /v1/events and /v1/labels: plain Starlette routes, since they are the hot ones; described in `openapi.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NoReturn

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message

from api.answers import Accepted, Receipt, Result, ScoredBatch
from api.engine import SMALL, Work
from api.problems import answer, problem_of
from api.served import Served, caller, served
from api.settle import Outcome, look
from ingest.intake import MAX_BATCH_BYTES, MAX_ONE_BYTES, Taken, too_large
from ringwatch.errors import BadInput, RingwatchError, Unavailable
from ringwatch.model import Assessment, Event, Label

_encode = msgspec.json.Encoder().encode
_JSON = "application/json"
_BODY_S = 30.0
"""A body must have come within it."""
_WHITE = b" \t\r\n"
Stages = dict[str, float]


async def score(request: Request) -> Response:
    """Assess events; the answer waits for the ledger."""
    request.scope["ringwatch.route"] = "/v1/score"
    stages = request.scope["ringwatch.stages"] = {}
    dry = _dry_run(request)
    here, taken = await _take(request, Event, stages)
    if dry:
        outcomes = await _look(here, taken)
    else:
        outcomes = await _score(here, taken, stages)
    if not taken.batch:
        outcome = outcomes[0]
        if isinstance(outcome, RingwatchError):
            raise outcome
        return _json(outcome)
    results = [_result(here, outcome) for outcome in outcomes]
    return _json(ScoredBatch(results=results, timing_us=stages, **_about(here)))


async def events(request: Request) -> Response:
    """Take events; acknowledged once they are in the ledger, behind those somebody waits for."""
    request.scope["ringwatch.route"] = "/v1/events"
    return await _accept(request, Event)


async def labels(request: Request) -> Response:
    """Take labels; each counts from the time it became known."""
    request.scope["ringwatch.route"] = "/v1/labels"
    return await _accept(request, Label)


async def _accept(request: Request, wanted: type[Event] | type[Label]) -> Response:
    stages: Stages = {}
    request.scope["ringwatch.stages"] = stages
    _no_parameters(request)
    here, taken = await _take(request, wanted, stages)
    outcomes = await _score(here, taken, stages)
    if not taken.batch and isinstance(outcomes[0], RingwatchError):
        raise outcomes[0]
    results = [_receipt(here, outcome) for outcome in outcomes]
    accepted = sum(not isinstance(outcome, RingwatchError) for outcome in outcomes)
    body = Accepted(accepted=accepted, results=results, timing_us=stages, **_about(here))
    return _json(body, 202)


async def _take(request: Request, wanted: type[Event] | type[Label], stages: Stages) -> tuple[Served, Taken]:
    here, who = served(request), caller(request)
    check_media(request)
    body = await read_body(request)
    started = perf_counter()
    stages["receive"] = round((started - request.scope["ringwatch.started"]) * 1e6, 1)
    taken = here.intake.take(body, who.tenant, wanted)
    stages["decode"] = round((perf_counter() - started) * 1e6, 1)
    return here, taken


async def _score(here: Served, taken: Taken, stages: Stages) -> list[Outcome]:
    """One outcome an item: those of the good ones from the scoring thread, in order."""
    good = taken.good()
    if not good:
        return [item for item in taken.items if isinstance(item, RingwatchError)]
    future = here.engine.submit(good)
    deadline = asyncio.get_running_loop().call_later(here.engine.deadline_s * 2, _give_up, future)
    work: Work = await future
    deadline.cancel()
    stages["queue"] = round(work.queue_us, 1)
    for stage, us in work.batch_us.items():
        stages[stage] = round(us, 1)
    settled = iter(work.outcomes)
    return [item if isinstance(item, RingwatchError) else next(settled) for item in taken.items]


def _give_up(future: asyncio.Future[Work]) -> None:
    if not future.done():
        hint = "send it again with the same id"
        future.set_exception(Unavailable("no answer in time; it may have been scored", hint=hint, retry_after_s=2.0))


async def _look(here: Served, taken: Taken) -> list[Outcome]:
    good = [item for item in taken.good() if isinstance(item, Event)]
    found: list[Outcome] = []
    for start in range(0, len(good), SMALL):
        some = good[start : start + SMALL]
        found += await here.engine.ask(lambda pipeline, some=some: look(pipeline, some))  # type: ignore[misc]
    settled = iter(found)
    return [item if isinstance(item, RingwatchError) else next(settled) for item in taken.items]


def _result(here: Served, outcome: Outcome) -> Result:
    if isinstance(outcome, Assessment):
        return Result(status=200, assessment=outcome)
    found = problem_of(outcome if outcome is not None else _impossible())
    here.meters.refusals[found.code] += 1
    return Result(status=found.status, problem=found)


def _receipt(here: Served, outcome: Outcome) -> Receipt:
    if isinstance(outcome, RingwatchError):
        found = problem_of(outcome)
        here.meters.refusals[found.code] += 1
        return Receipt(status=found.status, problem=found)
    return Receipt(status=202, event_id=outcome.event_id if outcome is not None else "")


def _impossible() -> NoReturn:
    raise AssertionError("an event has an assessment or an error")


def _about(here: Served) -> dict[str, Any]:
    return {"degraded": here.degraded(), "ring_age_s": here.engine.glance.ring_age_s}


def _json(content: object, status: int = 200) -> Response:
    return Response(_encode(content), status, None, _JSON)


async def problem_response(request: Request, error: Exception) -> Response:
    """Every deliberate error, as its problem document."""
    assert isinstance(error, RingwatchError)
    found = problem_of(error)
    served(request).meters.refusals[found.code] += 1
    return answer(found)


def _dry_run(request: Request) -> bool:
    query: bytes = request.scope["query_string"]
    if not query:
        return False
    given = request.query_params.multi_items()
    if len(given) == 1 and given[0][0] == "dry_run":
        match given[0][1]:
            case "true":
                return True
            case "false":
                return False
            case _:
                raise BadInput("dry_run is neither true nor false", hint="write dry_run=true", field="dry_run")
    raise BadInput("the query has unknown or repeated parameters", hint="dry_run is the only one", field="query")


def _no_parameters(request: Request) -> None:
    if request.scope["query_string"]:
        raise BadInput("the query has parameters", hint="there are none here", field="query")


def check_media(request: Request) -> None:
    media = encoding = ""
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            media = value.decode("latin-1").lower()
        elif name == b"content-encoding":
            encoding = value.decode("latin-1").lower()
    kind, _, rest = media.partition(";")
    charset = rest.strip().removeprefix("charset=").strip('"') if rest.strip().startswith("charset=") else ""
    if kind.strip() != _JSON or charset not in ("", "utf-8", "utf8") or encoding not in ("", "identity"):
        raise BadInput("the body is not plain JSON in UTF-8", hint=f"send Content-Type: {_JSON}", code="media_type")


async def read_body(request: Request, most: int = MAX_BATCH_BYTES) -> bytes:
    """The whole body, bounded in bytes and time: one object is shorter than a list may be. Raises BadInput(too_large)."""
    if (length := request.headers.get("content-length")) is not None and int(length) > most:
        raise too_large(most)
    message = await request.receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):
        return body
    try:
        async with asyncio.timeout(_BODY_S):
            return await _more_body(request, message, most)
    except TimeoutError:
        raise BadInput(f"the body did not come within {_BODY_S:.0f} s", hint="send it at once", code="bad_request") from None  # fmt: skip


async def _more_body(request: Request, message: Message, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        part = message.get("body", b"")
        assert isinstance(part, bytes)
        parts.append(part)
        size += len(part)
        limit = most if size and _first(parts) == b"[" else min(most, MAX_ONE_BYTES)
        if size > limit:
            raise too_large(limit)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await request.receive()
    raise ClientDisconnect


def _first(parts: Sequence[bytes]) -> bytes:
    """The first byte that is not white space."""
    return next((stripped[:1] for part in parts if (stripped := part.lstrip(_WHITE))), b"")
