"""The connection to Redis: commands out, replies in, with bounds on time and errors of ours.

One connection, exchanges take turns. It speaks through `redis.connection` and not through `redis.Redis`, which costs
100 microseconds an exchange more.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import hiredis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, parse_url
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoScriptError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from ringwatch.errors import BadInput, RingwatchError, ServerDenied, StoreAway

_READ_BYTES = 1 << 18
_OUR_CERTIFICATE = ("ALERT", "EOF occurred in violation of protocol")
"""What OpenSSL says when a server hangs up after it saw our certificate, or saw none."""
_LUA = Path(__file__).parent / "lua"

Command = Sequence[bytes | str | int]
_pack: Any = hiredis.pack_command
_parse: Any = parse_url


@dataclass(frozen=True)
class Script:
    """A Lua script of `features/lua/`, called by its hash."""

    name: str

    @cached_property
    def text(self) -> bytes:
        return (_LUA / f"{self.name}.lua").read_bytes()

    @cached_property
    def sha(self) -> str:
        return hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Access:
    """Where Redis is and how to get in. Times in seconds."""

    url: str = field(repr=False)
    """redis://host:port/db, rediss:// with TLS, unix://path; a user and a password in it are used unless given here."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = field(default=None, repr=False)
    timeout_s: float = 1.0
    connect_timeout_s: float = 1.0
    backoff_s: float = 0.05
    """Before the one new try after a connection was lost."""


class Wire:
    """Exchanges with one Redis server. Raises `Unavailable`, `BadInput` where the access is wrong in itself."""

    def __init__(self, access: Access) -> None:
        self._connection, self.place = _connection(access)
        self._backoff_s = access.backoff_s
        self._timeout_s = access.timeout_s
        self._turn = threading.Lock()

    def exchange(self, commands: Sequence[Command], *, again: bool = True) -> list[Any]:
        """Send all, then read all replies (bytes, int, None or lists of them), at most `timeout_s` for each silence.

        A connection that is lost is opened anew and the commands are sent once more, unless `again` is false: then
        whether they were carried out is unknown.
        """
        packed = [_pack(tuple(command)) for command in commands]
        with self._turn:
            for last in (False, True):
                sent = False
                try:
                    if not self._connection.is_connected:
                        self._connection.connect()
                    sent = True
                    return self._once(packed)
                except TimeoutError as error:
                    raise self._unavailable(f"gave no answer within {self._timeout_s:g} s", error) from None
                except ConnectionError as error:
                    if last or isinstance(error, AuthenticationError) or (sent and not again):
                        raise self._unavailable(f"{error}", error) from None
                time.sleep(self._backoff_s)
        raise AssertionError

    def _once(self, packed: list[bytes]) -> list[Any]:
        connection = self._connection
        failed: ResponseError | None = None
        replies: list[Any] = []
        try:
            connection.send_packed_command([b"".join(packed)] if len(packed) > 1 else packed)
            for _ in packed:
                try:
                    replies.append(connection.read_response(disable_decoding=True))
                except NoScriptError:
                    raise
                except ResponseError as error:
                    failed = failed or error
        except NoScriptError:
            if len(packed) > 1:
                connection.disconnect()
            raise
        except (RedisError, OSError):
            connection.disconnect()
            raise
        if failed is not None:
            raise self._refused(failed)
        return replies

    def ask(self, *command: bytes | str | int, again: bool = True) -> Any:
        """One command, one reply."""
        return self.exchange([command], again=again)[0]

    def call(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes | int], *, again: bool = True) -> Any:
        """Run a script, sending its text when the server does not have it yet."""
        command = (b"EVALSHA", script.sha, len(keys), *keys, *args)
        try:
            return self.exchange([command], again=again)[0]
        except NoScriptError:
            self.ask(b"SCRIPT", b"LOAD", script.text)
            return self.exchange([command], again=again)[0]

    def close(self) -> None:
        with self._turn:
            self._connection.disconnect()

    def _unavailable(self, what: str, error: RedisError) -> RingwatchError:
        hint = "look whether it runs, whether the state's address is right, and whether it speaks TLS there (rediss://)"
        if isinstance(error, AuthenticationError):
            hint = "check user and password: RINGWATCH_REDIS_USERNAME, RINGWATCH_REDIS_PASSWORD_FILE"
            return ServerDenied(f"Redis at {self.place}: {what}", hint=hint)
        if "CERTIFICATE_VERIFY_FAILED" in what:
            hint = (
                "it must be in date, for the name in the address, and signed by an authority in RINGWATCH_REDIS_CA_FILE"
            )
        elif any(sign in what for sign in _OUR_CERTIFICATE):
            named = "RINGWATCH_REDIS_CERT_FILE, RINGWATCH_REDIS_KEY_FILE"
            hint = f"does it want a certificate, signed by an authority it knows: {named}?"
        return StoreAway(f"Redis at {self.place}: {what}", hint=hint)

    def _refused(self, error: ResponseError) -> RingwatchError:
        text = str(error)
        hint = "see the server's log"
        if "OOM" in text or "maxmemory" in text:
            hint = "raise maxmemory: with noeviction the state is never dropped, and the server takes no more"
        elif "NOPERM" in text:
            hint = "the user needs +@read +@write +@scripting +@connection +info +dbsize on the state's keys"
            return ServerDenied(f"Redis at {self.place} refuses: {text}", hint=hint)
        return StoreAway(f"Redis at {self.place} refuses: {text}", hint=hint)


def _connection(access: Access) -> tuple[Any, str]:
    try:
        options = _parse(access.url)
    except ValueError:
        raise BadInput(
            "the address of Redis cannot be read", hint="redis://host:port/0, rediss://... with TLS, or unix:///path"
        ) from None
    kind = options.pop("connection_class", Connection)
    files = {"ssl_ca_certs": access.ca_file, "ssl_certfile": access.cert_file, "ssl_keyfile": access.key_file}
    given = {name: str(path) for name, path in files.items() if path is not None}
    if given and kind is not SSLConnection:
        raise BadInput("certificates are given for Redis and its address is without TLS", hint="use rediss://")
    if ("ssl_certfile" in given) != ("ssl_keyfile" in given):
        raise BadInput("of the client's certificate and its key for Redis one is missing", hint="give both, or none")
    for path in given.values():
        if not Path(path).is_file():
            raise BadInput(f"{path} is not there", hint="it is named as a certificate or key for Redis")
    if given:
        _check(access)
    if access.username is not None:
        options["username"] = access.username
    if access.password is not None:
        options["password"] = access.password
    if options.get("username") and not options.get("password"):
        raise BadInput("Redis is given a user without a password", hint="give both, or only a password")
    place = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    connection = kind(
        **{**options, **given},
        protocol=2,
        socket_timeout=access.timeout_s,
        socket_connect_timeout=access.connect_timeout_s,
        socket_read_size=_READ_BYTES,
        retry=Retry(NoBackoff(), 0),
    )
    return connection, place


def _check(access: Access) -> None:
    """Read the certificates as every connection will. Raises BadInput."""
    try:
        context = ssl.create_default_context(cafile=access.ca_file)
        if access.cert_file is not None:
            context.load_cert_chain(access.cert_file, access.key_file, password="")
    except OSError as error:
        named = ", ".join(str(p) for p in (access.ca_file, access.cert_file, access.key_file) if p is not None)
        raise BadInput(
            f"the certificates for Redis cannot be used ({named}): {error}",
            hint="PEM files are needed; the key is that of the certificate, without a password on it",
        ) from None
