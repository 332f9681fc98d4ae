"""Public keys that tokens are checked with, from a file or a URL; both are looked at anew while the service runs."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from ringwatch.errors import BadInput
from ringwatch.seldom import Seldom

log = logging.getLogger(__name__)
log.addFilter(Seldom())
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
ALGORITHMS = frozenset((*_RSA, *_CURVES.values(), "EdDSA"))
"""All are asymmetric: who can check a token cannot make one."""
_LEAST_RSA_BITS, _MOST_KEYS, _MOST_BYTES = 2048, 100, 1_000_000
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)
FETCH_TIMEOUT_S, _FETCH_AGAIN_S, _STALE_S = 3.0, 10.0, 300.0


@dataclass(frozen=True, slots=True)
class PublicKey:
    """`kid` is empty where the key has no name: then it may have signed any token."""

    kid: str
    key: Any
    algorithms: tuple[str, ...]
    """Those that a token it signed may name."""


class KeySource(Protocol):
    """Called from the event loop: nothing here waits for a network."""

    trouble: str
    """Why the keys are not as new as they should be; empty when they are."""

    def keys(self) -> tuple[PublicKey, ...]:
        """Those known now: the same object until they change."""

    def fetch(self) -> Future[None] | None:
        """Asks for keys that are not known yet; done when they are here or cannot be had. None where it was asked a moment ago."""


class KeysInFile:
    """PEM or JWKS; read again when it changes. While it is away or cannot be read, the keys before stay."""

    def __init__(self, path: Path) -> None:
        """Raises BadInput for a file that cannot be used."""
        self._path, self.trouble = path, ""
        self._stamp: tuple[int, int, int] | None = None
        try:
            self._stamp = _stamp(path)
            self._keys = keys_of(path.read_bytes())
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}", hint="it is named by RINGWATCH_JWT_KEY_FILE") from None  # fmt: skip

    def keys(self) -> tuple[PublicKey, ...]:
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._stamp = stamp
                self._keys, self.trouble = keys_of(self._path.read_bytes()), ""
        except (OSError, BadInput) as error:
            self.trouble = (
                f"the file of keys cannot be used, those before stay: {getattr(error, 'strerror', None) or error}"
            )
            log.error("%s: %s", self.trouble, self._path)
        return self._keys

    def fetch(self) -> Future[None] | None:
        return None


class KeysAtUrl:
    """A JWKS, fetched by a thread of its own: when a token names a key that is not known, at most every 10 s, and every 5 minutes, so
    that a key that was withdrawn is forgotten. While the URL is away, the keys before stay."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is asked yet. Raises BadInput for a URL whose answer others on the way could change."""
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_local(parts.hostname or "")):
            raise BadInput("RINGWATCH_JWT_JWKS_URL is not https", hint="http is taken from loopback only")
        self._url, self._place, self._clock = url, parts.netloc.rpartition("@")[2], clock
        self._keys: tuple[PublicKey, ...] = ()
        self._lock = threading.Lock()
        self._running: Future[None] | None = None
        self._asked_s = self._got_s = -1e9
        self.trouble = "no keys yet"

    def keys(self) -> tuple[PublicKey, ...]:
        if self._clock() - self._got_s > _STALE_S:
            self.fetch()
        return self._keys

    def fetch(self) -> Future[None] | None:
        with self._lock:
            if self._running is not None:
                return self._running
            now_s = self._clock()
            if now_s - self._asked_s < _FETCH_AGAIN_S:
                return None
            self._asked_s, self._running = now_s, Future()
            self._running.set_running_or_notify_cancel()
            threading.Thread(target=self._fetch, args=(self._running,), name="jwt-keys", daemon=True).start()
            return self._running

    def _fetch(self, done: Future[None]) -> None:
        try:
            found = keys_of(_get(self._url))
            if found != self._keys:
                self._keys = found
            self._got_s, self.trouble = self._clock(), ""
        except (OSError, HTTPException, ValueError, BadInput) as error:
            what = (
                error.message if isinstance(error, BadInput) else getattr(error, "reason", None) or type(error).__name__
            )
            self.trouble = f"the keys at {self._place} cannot be had: {what}"
            log.warning("%s; %d from before stay", self.trouble, len(self._keys))
        finally:
            with self._lock:
                self._running = None
            done.set_result(None)


def keys_of(text: bytes) -> tuple[PublicKey, ...]:
    """Of PEM blocks, or of a JWKS. Raises BadInput where there is none to check a token with, or a private one."""
    try:
        found = _of_pem(text) if b"-----BEGIN" in text else _of_jwks(text)
    except (ValueError, TypeError, KeyError, UnsupportedAlgorithm, jwt.PyJWTError, msgspec.MsgspecError) as error:
        raise BadInput(f"these are no keys that can be used: {type(error).__name__}", hint=_HINT) from None
    if not 0 < len(found) <= _MOST_KEYS:
        raise BadInput(f"there are {len(found)} keys to check tokens with", hint=_HINT)
    return tuple(found)


_HINT = "public keys are needed, in PEM or as a JWKS: RSA of 2,048 bits and more, P-256, P-384, P-521, Ed25519"


def _of_pem(text: bytes) -> list[PublicKey]:
    found = []
    for block in _PEM.finditer(text):
        if b"PRIVATE" in block[1]:
            raise _private()
        certificate = block[1] == b"CERTIFICATE"
        key = load_pem_x509_certificate(block[0]).public_key() if certificate else load_pem_public_key(block[0])
        found.append(PublicKey("", key, _algorithms(key)))
    return [key for key in found if key.algorithms]


class _Jwks(msgspec.Struct):
    keys: list[dict[str, Any]]


def _of_jwks(text: bytes) -> list[PublicKey]:
    """What is not for signatures, or of a kind that is not taken, is passed over."""
    found = []
    for given in msgspec.json.decode(text, type=_Jwks).keys:
        if given.get("kty") not in ("RSA", "EC", "OKP") or given.get("use", "sig") != "sig":
            continue
        if "d" in given:
            raise _private()
        try:
            key = jwt.PyJWK.from_dict(given).key
        except (jwt.PyJWTError, ValueError, UnsupportedAlgorithm):
            continue
        algorithms = tuple(a for a in _algorithms(key) if given.get("alg", a) == a)
        kid = given.get("kid", "")
        if algorithms and isinstance(kid, str):
            found.append(PublicKey(kid, key, algorithms))
    return found


def _private() -> BadInput:
    return BadInput("there is a private key among the keys to check tokens with", hint="it belongs to the issuer alone")


def _algorithms(key: Any) -> tuple[str, ...]:
    """None for a key that is not taken."""
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA if key.key_size >= _LEAST_RSA_BITS else ()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return (_CURVES[key.curve.name],) if key.curve.name in _CURVES else ()
    return ("EdDSA",) if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey) else ()


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows nobody elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _get(url: str) -> bytes:
    """Within the time, up to a size."""
    until_s = time.monotonic() + FETCH_TIMEOUT_S
    request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "ringwatch"})
    body = b""
    with urllib.request.build_opener(_Straight).open(request, timeout=FETCH_TIMEOUT_S) as answer:
        while part := answer.read1(65_536):
            body += part
            if len(body) > _MOST_BYTES:
                raise ValueError("too large")
            if time.monotonic() > until_s:
                raise TimeoutError
    return body


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _stamp(path: Path) -> tuple[int, int, int]:
    stat = os.stat(path)
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
