"""`ringwatch serve`: the served API."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ringwatch.commands.keys import key_file_of, local_key_of
from ringwatch.commands.options import DataDir, settings_with
from ringwatch.errors import BadInput, Denied, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.keys import KeyFile
    from api.served import Served
    from desk.store import Desk
    from desk.watch import ListsWatch
    from graph.store import GraphStore
    from ingest.scoring import Scoring
    from ledger.queries import LedgerQueries
    from rings.ring import Ring
    from ringwatch.model import Kind
    from ringwatch.settings import Settings
    from ringwatch.wiring import Service
    from roles.role import Role

_SWITCH_S = 0.0005
"""A thread that computes gives way to the other after so long (Python's default is ten times that, and is seen in p99)."""
WS_MOST_BYTES = 64_000
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Binds that listen on all addresses -> the one of them to call."""


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind (default: RINGWATCH_HOST, else 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    data_dir: DataDir = None,
    local_key: Annotated[
        bool, typer.Option("--local-key", help="Make a fresh key named local and print it with a curl.")
    ] = False,
    role: Annotated[
        str | None,
        typer.Option(
            "--role",
            help="With Kafka: of api, scorer, ring-keeper, ledger-writer, graph-writer; with commas (default: all).",
        ),
    ] = None,
) -> None:
    """Serve the API: score events over HTTP, read alerts and rings, GraphQL; with Kafka also from there, in one process or several.

    Without keys it binds to loopback only, and everybody there may do everything; `ringwatch keys create` changes that.
    SIGTERM or Ctrl-C: no more requests, what is queued is scored, a snapshot is taken.

    Example: `ringwatch serve --port 8000`
    """
    settings = settings_with(data_dir)
    settings = settings.model_copy(update={k: v for k, v in (("host", host), ("port", port)) if v is not None})
    if settings.bus_url != "none:":
        from ringwatch.commands.shared import serve_roles
        from ringwatch.shared_wiring import ROLES

        names = ROLES if role is None else [name.strip() for name in role.split(",") if name.strip()]
        serve_roles(settings, names, local_key=local_key)
        return
    if role is not None:
        raise BadInput(
            "--role is given and RINGWATCH_BUS_URL is not",
            hint="several processes share their work over Kafka: kafka://host:port",
        )
    serve_folder(settings, local_key=local_key)


def serve_folder(settings: Settings, *, local_key: bool, listener: socket.socket | None = None) -> None:
    """Serve a data folder until told to stop; on a socket that is bound already, where one is given."""
    from api.app import build_app
    from ringwatch.wiring import open_service
    from scorers.warm import warm

    key_file = key_file_of(settings)
    check_keys(settings, key_file, local_key=local_key)
    listener = listener or bind(settings.host, settings.port)
    listener.listen(1024)
    warm()
    service = open_service(settings)
    here = None
    try:
        token = local_key_of(key_file, settings.tenant, service.desk) if local_key else ""
        here = served_of(service, key_file)
        run_app(build_app(here), listener, lambda: announce(here, settings, listener, token))
    finally:
        key_file.note_use()
        if here is not None and here.engine.halted:
            print(f"halted: {here.engine.halted}", file=sys.stderr)
            service.pipeline.outlets.ledger.close()
            service.folder.close()
            raise typer.Exit(1)
        service.close()


def check_keys(settings: Settings, key_file: KeyFile, *, local_key: bool) -> None:
    """Raises Denied where everybody on a network could do everything."""
    from api.guard import is_loopback
    from ringwatch.callers import takes_tokens

    if not is_loopback(settings.host) and not local_key and not key_file.tenants() and not takes_tokens(settings):
        raise Denied(
            f"without keys only loopback is served, not {settings.host}",
            hint="make one first: `ringwatch keys create --name NAME`",
        )


def bind(host: str, port: int) -> socket.socket:
    """Raises Unavailable for an address that is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"{host}:{port} cannot be bound: {error.strerror}", hint="choose another with --port or RINGWATCH_PORT"
        ) from None
    return listener


def served_of(service: Service, key_file: KeyFile) -> Served:
    """The open service as the API wants it."""
    return served_by(
        service.pipeline, service.settings, key_file, service.queries, service.graph, service.kinds, (service.desk, service.lists)
    )  # fmt: skip


def served_by(
    scoring: Scoring,
    settings: Settings,
    key_file: KeyFile,
    ledger: LedgerQueries,
    graph: GraphStore | None,
    kinds: Sequence[Kind],
    desk: tuple[Desk, ListsWatch],
    roles: Sequence[Role] = (),
) -> Served:
    from api.engine import Engine
    from api.feed import Feed
    from api.guard import Access, is_loopback
    from api.meters import Meters
    from api.reads import ring_risk_of
    from api.served import Served
    from desk.case_keeper import CaseKeeper
    from desk.cases import newest_change
    from features.schema import FeatureSchema
    from ingest.currency import exponent
    from ingest.intake import Intake
    from rings.words import Money
    from ringwatch.callers import open_rates, open_tokens
    from ringwatch.wiring import open_decoder, open_past

    meters = Meters(time.time)
    engine = Engine(scoring, meters, capacity=settings.api_queue_events, deadline_s=settings.api_deadline_ms / 1e3)
    loopback = is_loopback(settings.host)
    hosts = {name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip()}
    if hosts or loopback:
        hosts.add(_in_url(settings.host.lower()))
    return Served(
        engine=engine,
        intake=Intake(lambda tenant: open_decoder(settings, kinds, tenant), time.time),
        ledger=ledger,
        graph=graph,
        past=open_past(settings, FeatureSchema(tuple(kinds))),
        desk=desk[0],
        decided=desk[1].look,
        cases=CaseKeeper(
            desk[0], ledger, ring_risk_of(engine), {"now": settings.case_now_h, "digest": settings.case_digest_h}
        ),
        feed=Feed(
            {
                "alerts": ledger.newest_change,
                "rings": ledger.newest_ring_change,
                "cases": lambda: newest_change(desk[0]),
            }
        ),
        kinds=kinds,
        access=Access(
            key_file,
            tenant=settings.tenant,
            loopback=loopback,
            hosts=frozenset(hosts),
            tokens=open_tokens(settings),
            rates=open_rates(settings),
        ),
        meters=meters,
        clock=time.time,
        version=version("ringwatch"),
        introspection=settings.graphql_introspection,
        graphql_deadline_s=settings.graphql_deadline_ms / 1e3,
        money=Money(settings.currency, exponent(settings.currency)),
        roles=roles,
    )


def run_app(app: Any, listener: socket.socket, announce: Any) -> None:
    """Until told to stop; returns when the last answer is given and the queue is empty."""
    import uvicorn

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            announce()

    sys.setswitchinterval(_SWITCH_S)
    config = uvicorn.Config(
        app, access_log=False, log_level="warning", server_header=False, ws="websockets-sansio", ws_max_size=WS_MOST_BYTES, lifespan="auto",
        timeout_keep_alive=75, timeout_graceful_shutdown=10, proxy_headers=False,
    )  # fmt: skip
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    Announcing(config).run(sockets=[listener])


def announce(here: Served, settings: Settings, listener: socket.socket, token: str, what: str = "") -> None:
    url, more = where(listener)
    lines = [
        f"Ringwatch serves {what or settings.data_dir} at {url}",
        *more,
        f"  docs      {url}/docs",
        f"  GraphQL   {url}/graphql",
    ]
    ring = _top_ring(here, settings.tenant)
    lines += [f"  ring      {url}/rings/{ring.summary.ring_id}/view"] if ring else []
    if here.access.keys_needed:
        lines.append("  keys      needed: Authorization: Bearer KEY; in a browser any name and the key as password")
    else:
        lines.append(
            f"  keys      none: bound to loopback only, everybody on this machine may do everything as {settings.tenant!r}"
        )
    lines += [f"  key       {token} (shown once)"] if token else []
    print("\n".join([*lines, *_try(url, token, ring, keys=here.access.keys_needed)]), flush=True)


def where(listener: socket.socket) -> tuple[str, list[str]]:
    """The address to paste, and lines that say more of it."""
    host, port = listener.getsockname()[:2]
    told = [f"  listens   on all addresses of this machine, port {port}"] if host in _EVERYWHERE else []
    return f"http://{_in_url(_EVERYWHERE.get(host, host))}:{port}", told


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _try(url: str, token: str, ring: Ring | None, *, keys: bool) -> list[str]:
    """Commands to paste: an event (of a newcomer to the ring, where there is one), and how GraphQL tells it."""
    shared = {s.kind: s.entity for s in reversed(ring.shared)} if ring else {"card": "tok-1", "device": "d-3"}
    event = {
        "event_id": f"try-{int(time.time())}", "type": "payment", "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "user": "u-7", **shared, "amount": 25.5, "outcome": "approved",
    }  # fmt: skip
    who = "somebody new on what the ring shares" if ring else "an event"
    query = {
        "query": f'{{ assessment(eventId: "{event["event_id"]}") {{ score level patterns reasons {{ text }} ring }} }}'
    }
    return [
        f"score {who}:", f"  {curl(f'{url}/v1/score', token, event, keys=keys)}",
        "see it in GraphQL:", f"  {curl(f'{url}/graphql', token, query, keys=keys)}",
    ]  # fmt: skip


def curl(url: str, token: str, body: dict[str, Any], *, keys: bool) -> str:
    """A command that posts; the key in it, where it is known."""
    auth = f' -H "Authorization: Bearer {token or "$RINGWATCH_KEY"}"' if keys else ""
    return f"curl -s {url} -H 'Content-Type: application/json'{auth} -d {shlex.quote(json.dumps(body))}"


def _top_ring(here: Served, tenant: str) -> Ring | None:
    from api.reads import ring_question, rings_question
    from rings.ring import most_telling

    try:
        top = most_telling(here.engine.ask_from(rings_question(tenant, 3)))
        return None if top is None else cast("Ring | None", here.engine.ask_from(ring_question(tenant, top.ring_id)))
    except Unavailable:
        return None
