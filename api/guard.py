"""What every request passes before any route: host, key, scope, headers of the answer, and the last catch.

Pure ASGI, so that it costs microseconds. Without keys the server is bound to loopback and whoever reaches it may do
everything; a web page that had its name point here may not, since its Host header gives it away, and a form on a foreign page
may not post, since only JSON is taken.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import logging
import secrets
import traceback
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from types import MappingProxyType
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.jwt_tokens import JwtTokens, NotSigned
from api.keys import PREFIX, Caller, KeyFile
from api.meters import Meters
from api.problems import Problem, problem_of
from api.rates import Rates
from ringwatch.errors import BadInput, Denied, RingwatchError

log = logging.getLogger(__name__)
Hot = Callable[[Request], Awaitable[Response]]
"""A route answered here, past the framework's layers: they cost more than reading an event does."""

OPEN = frozenset(("/healthz", "/readyz"))
_SCOPES = {("POST", "/v1/score"): "score", ("POST", "/v1/events"): "score", ("POST", "/v1/labels"): "label"}
_OPERATE = "/metrics"
_LOCAL = frozenset(("localhost", "127.0.0.1", "[::1]", "::1"))
_ANY_KEY = "a key is needed"
_HEADERS: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_NO_CONTENT = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class Access:
    """Who may come in, and how."""

    def __init__(
        self, keys: KeyFile, *, tenant: str, loopback: bool, hosts: frozenset[str] = frozenset(),
        tokens: JwtTokens | None = None, rates: Rates | None = None,
    ) -> None:  # fmt: skip
        """`hosts` are taken besides local names; without any, beyond loopback, the Host header is not looked at."""
        self.keys, self.tokens, self.rates = keys, tokens, rates
        self.loopback = loopback
        self._open_caller = Caller(tenant)
        self._hosts = _LOCAL | hosts if loopback or hosts else frozenset()

    @property
    def keys_needed(self) -> bool:
        return not self.loopback or self.tokens is not None or self.keys.required()

    def troubles(self) -> dict[str, str]:
        """What is not as it should be: name -> sentence."""
        tokens, rates = self.tokens, self.rates
        found = {
            "jwt_keys": "" if tokens is None else tokens.source.trouble,
            "rate_limits": "" if rates is None else rates.trouble,
        }
        return {name: trouble for name, trouble in found.items() if trouble}

    def check_host(self, host: str) -> None:
        """Raises BadInput(code="wrong_host") for a name this server is not called by."""
        if self._hosts and _without_port(host).lower() not in self._hosts:
            raise BadInput("the Host header names another server", hint="use localhost, or RINGWATCH_ALLOWED_HOSTS", code="wrong_host")  # fmt: skip

    async def admitted(self, authorization: str, api_key: str) -> Caller:
        """As `caller`; for a token whose key is not known yet it is asked for. Raises Unavailable(code="too_many")."""
        try:
            who = self.caller(authorization, api_key)
        except NotSigned:
            assert self.tokens is not None
            if not await self.tokens.fetched():
                raise
            who = self.caller(authorization, api_key)
        if self.rates is not None:
            await self.rates.take(who)
        return who

    def caller(self, authorization: str, api_key: str) -> Caller:
        """From what is known now. Raises Denied(code="unauthenticated")."""
        if not self.keys_needed:
            return self._open_caller
        token = api_key or _token_in(authorization)
        if not token:
            hint = (
                "send it as `Authorization: Bearer KEY`, or as the password of Basic; `ringwatch keys create` makes one"
            )
            raise Denied(_ANY_KEY, hint=hint, code="unauthenticated")
        if self.tokens is not None and not api_key and not token.startswith(PREFIX) and _is_bearer(authorization):
            return self.tokens.caller(token)
        return self.keys.caller(token)


def _is_bearer(authorization: str) -> bool:
    return authorization[:7].lower() == "bearer "


def _token_in(authorization: str) -> str:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode("latin-1").partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0] if host.count(":") == 1 else host


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """The outermost middleware."""

    def __init__(
        self,
        app: ASGIApp,
        here: object,
        access: Access,
        meters: Meters,
        server_timing: Callable[[Scope], str],
        hot: Mapping[tuple[str, str], Hot],
        sockets: Mapping[str, ASGIApp] = MappingProxyType({}),
    ) -> None:
        """`sockets`: path -> what answers WebSockets there; it looks itself at who asks, since browsers say so after the handshake."""
        self._app = app
        self._here = here
        self._hot, self._sockets = hot, sockets
        self._access = access
        self._meters = meters
        self._timing = server_timing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            else:
                await self._socket(scope, receive, send)
            return
        started = scope["ringwatch.started"] = perf_counter()
        scope["ringwatch.served"] = self._here
        state = _Answer(scope, send, self._timing)
        path, method = scope["path"], scope["method"]
        try:
            found = await self._admit(scope, path, method)
            hot = self._hot.get((method, path))
            if found is None and hot is None:
                await self._app(scope, receive, state.send)
            elif found is None and hot is not None:
                await (await self._answer(hot, Request(scope, receive)))(scope, receive, state.send)
            elif found is not None:
                await self._refuse(found, scope, receive, state)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the top: nothing above but a dropped connection
            if not state.begun:
                await self._refuse(unexpected(scope, error), scope, receive, state)
        meters, status = self._meters, state.status
        meters.requests[scope.get("ringwatch.route", "other"), status] += 1
        if scope.get("ringwatch.route") == "/v1/score":
            meters.scored((perf_counter() - started) * 1e3)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._sockets.get(scope["path"])
        host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        try:
            self._access.check_host(host)
        except RingwatchError:
            found = None
        if found is None:
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        scope["ringwatch.served"] = self._here
        await found(scope, receive, send)

    async def _answer(self, hot: Hot, request: Request) -> Response:
        try:
            return await hot(request)
        except RingwatchError as error:
            found = problem_of(error)
            self._meters.refusals[found.code] += 1
            return problems.answer(found)

    async def _admit(self, scope: Scope, path: str, method: str) -> Problem | None:
        """None when the request may go on; the caller then stands in the scope."""
        seen = {b"host": "", b"authorization": "", b"x-api-key": ""}
        for name, value in scope["headers"]:
            if name in seen:
                seen[name] = value.decode("latin-1")
        try:
            self._access.check_host(seen[b"host"])
            if path not in OPEN:
                caller = await self._access.admitted(seen[b"authorization"], seen[b"x-api-key"])
                caller.need("operate" if path == _OPERATE else _SCOPES.get((method, path), "read"))
                scope["ringwatch.caller"] = caller
        except RingwatchError as error:
            return problem_of(error)
        return None

    async def _refuse(self, found: Problem, scope: Scope, receive: Receive, state: _Answer) -> None:
        self._meters.refusals[found.code] += 1
        await problems.answer(found)(scope, receive, state.send)


def unexpected(scope: Scope, error: Exception) -> Problem:
    """The problem for what nobody foresaw; the log has where it happened, without bodies, queries or identifiers."""
    error_id = secrets.token_hex(6)
    trace = "".join(traceback.format_tb(error.__traceback__))
    log.error(
        "unexpected %s, %s: %s %s\n%s", type(error).__name__, error_id, scope["method"], _shown(scope["path"]), trace
    )
    return problems.unexpected(error_id)


_CHALLENGES = (
    (b"www-authenticate", b'Bearer realm="ringwatch"'),
    (b"www-authenticate", b'Basic realm="ringwatch", charset="UTF-8"'),
)
"""One a line: browsers look at the first challenge of each line, and ask for a password for Basic only."""


class _Answer:
    """Sends, and remembers; adds the headers every answer has."""

    __slots__ = ("_scope", "_send", "_timing", "begun", "status")

    def __init__(self, scope: Scope, send: Send, timing: Callable[[Scope], str]) -> None:
        self._scope, self._send, self._timing = scope, send, timing
        self.begun = False
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self.status = message["status"]
            headers: list[Any] = list(message.get("headers", ()))
            headers += _HEADERS
            if self.status == 401:
                headers += _CHALLENGES
            if not any(name == b"content-security-policy" for name, _ in headers):
                headers.append(_NO_CONTENT)
            headers.append((b"server-timing", self._timing(self._scope).encode("latin-1", "replace")))
            message["headers"] = headers
        await self._send(message)


def _shown(path: str) -> str:
    """A path fit for the log: no identifiers, one line."""
    return "/".join(path.split("/")[:3])[:60].encode("ascii", "backslashreplace").decode()
