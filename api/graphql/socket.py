"""The WebSocket at /graphql: subscriptions, and nothing else, by the protocol graphql-transport-ws.

Who asks is said by the handshake's headers, or, since browsers cannot set those, by `connection_init` with the payload
{"authorization": "Bearer KEY"}. Nothing is answered before that.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.unset import UNSET, UnsetType

from api.graphql.context import Connection
from api.graphql.query import schema
from ringwatch.errors import RingwatchError

MOST_SUBSCRIPTIONS = 10
"""Of one connection."""
_INIT_S = 10.0


class Socket(GraphQL[Any, Any]):
    def __init__(self) -> None:
        super().__init__(
            schema, graphql_ide=None, subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
            connection_init_wait_timeout=timedelta(seconds=_INIT_S), max_subscriptions_per_connection=MOST_SUBSCRIPTIONS,
        )  # fmt: skip

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Any:
        headers = request.headers
        here = request.scope["ringwatch.served"]
        return Connection(here, headers.get("authorization", ""), headers.get("x-api-key", ""))

    async def on_ws_connect(self, context: Any) -> UnsetType:
        assert isinstance(context, Connection)
        try:
            await context.admit()
        except RingwatchError:
            raise ConnectionRejectionError from None
        nothing: UnsetType = UNSET
        return nothing
