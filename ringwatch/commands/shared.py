"""Serving where several processes share the work: the roles of this one, each on its thread, and what it answers over HTTP."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ringwatch.commands.keys import key_file_of, local_key_of
from ringwatch.commands.serve import announce, bind, check_keys, run_app, served_by, where

if TYPE_CHECKING:
    from ringwatch.settings import Settings
    from ringwatch.shared_wiring import Shared
    from roles.role import Role

_DRAIN_S = 30.0


def serve_roles(settings: Settings, names: Sequence[str], *, local_key: bool) -> None:
    """Until told to stop. The stores may come and go, and start later than this does."""
    from ringwatch.giving_way import give_way
    from ringwatch.shared_wiring import open_shared
    from scorers.warm import warm

    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("neo4j").setLevel(logging.ERROR)  # it tells each retry; what comes of them is told by the roles
    key_file = key_file_of(settings) if "api" in names else None
    if key_file is not None:
        check_keys(settings, key_file, local_key=local_key)
    listener = bind(settings.host, settings.port)
    listener.listen(1024)
    if {"api", "scorer", "ring-keeper"} & set(names):
        warm()
    if not {"api", "scorer"} & set(names):
        give_way()
    here = open_shared(settings, names, key_file.tenants if key_file is not None else tuple)
    with ExitStack() as ending:
        ending.callback(here.closing.close)
        if key_file is not None:
            ending.callback(key_file.note_use)
        if here.scoring is not None:
            ending.callback(here.scoring.snapshot, wait=True)
        _start(here.roles, ending)
        if here.http is None or key_file is None:
            from roles.health import health_app

            run_app(health_app(here.roles), listener, lambda: _say(settings, names, listener))
            return
        from api.app import build_app
        from ringwatch.wiring import open_queries

        queries = open_queries(settings, here.schema)
        ending.callback(queries.close)
        ending.callback(here.http.close)
        if here.sweeper is not None:
            here.sweeper.start()
            ending.callback(here.sweeper.stop)
        assert here.desk is not None
        assert here.lists is not None
        desk = here.desk, here.lists
        served = served_by(here.http, settings, key_file, queries, here.graph, here.kinds, desk, here.roles)
        token = local_key_of(key_file, settings.tenant, here.desk) if local_key else ""
        run_app(build_app(served), listener, lambda: announce(served, settings, listener, token, _words(here, names)))


def _start(roles: Sequence[Role], ending: ExitStack) -> None:
    """Each on a thread of its own. At the end all are told to stop, and waited for while they finish what they began."""
    stop = threading.Event()
    threads = [threading.Thread(target=role.run, args=(stop,), name=role.name, daemon=True) for role in roles]
    for thread in threads:
        thread.start()

    def end() -> None:
        stop.set()
        for thread in threads:
            thread.join(_DRAIN_S)

    ending.callback(end)


def _words(here: Shared, names: Sequence[str]) -> str:
    return f"{', '.join(names)} on {here.settings.bus_url}"


def _say(settings: Settings, names: Sequence[str], listener: socket.socket) -> None:
    url, more = where(listener)
    lines = (
        f"Ringwatch works as {', '.join(names)} on {settings.bus_url}",
        *more,
        f"  health    {url}/readyz, /metrics",
    )
    print("\n".join(lines), flush=True)
