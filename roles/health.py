"""Health, readiness and metrics of a process without the API: for probes and Prometheus, nothing about the data."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from roles.metrics import registry_of_roles, troubles_of
from roles.role import Role

_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def health_app(roles: Sequence[Role]) -> Callable[[MutableMapping[str, Any], Any, _Send], Awaitable[None]]:
    """An ASGI app with /healthz, /readyz and /metrics."""
    registry = registry_of_roles(roles)

    async def app(scope: MutableMapping[str, Any], receive: Any, send: _Send) -> None:
        if scope["type"] != "http":
            return
        path, get = scope["path"], scope["method"] == "GET"
        if path == "/healthz" and get:
            await _json(send, 200, {"status": "ok"})
        elif path == "/readyz" and get:
            ready = all(role.status.ready for role in roles)
            await _json(send, 200 if ready else 503, {"ready": ready, "troubles": troubles_of(roles)})
        elif path == "/metrics" and get:
            await _answer(send, 200, generate_latest(registry), CONTENT_TYPE_LATEST)
        else:
            await _json(send, 404, {"detail": "there are /healthz, /readyz and /metrics"})

    return app


async def _json(send: _Send, code: int, content: object) -> None:
    await _answer(send, code, json.dumps(content).encode(), "application/json")


async def _answer(send: _Send, code: int, body: bytes, kind: str) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
