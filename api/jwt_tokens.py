"""Tokens (JWT) of somebody else's issuer: checked with its public keys, and what they say of who asks.

Tenant and roles come from the token and from nowhere else. Whoever is refused learns nothing of why; the log does, without the token.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import jwt

from api.jwt_keys import ALGORITHMS, FETCH_TIMEOUT_S, KeySource, PublicKey
from api.keys import ROLES, SCOPES, Caller
from ringwatch.errors import Denied
from ringwatch.seldom import Seldom

log = logging.getLogger(__name__)
log.addFilter(Seldom())
LEEWAY_S = 30
_MOST_CHARS, _MOST_TRIES, _MOST_KNOWN, _MOST_SUBJECT = 8192, 8, 10_000, 200
_TENANT = re.compile(r"[\w.:@-]{1,128}")
_BROKEN = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
"""What reading a token raises, whatever stands in it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a token has to say."""

    issuer: str
    audience: str
    tenant_claim: str = "tenant"
    role_claim: str = "role"


class NotSigned(Denied):
    """No key that is known has signed the token: perhaps one that is not known yet."""


class JwtTokens:
    """Whose tokens are taken. For the event loop alone."""

    def __init__(self, wanted: Wanted, source: KeySource) -> None:
        self._wanted, self.source = wanted, source
        self._keys: tuple[PublicKey, ...] = ()
        self._known: dict[bytes, tuple[Caller, float]] = {}
        """Digest of a token that was checked with `_keys` -> who, and until when: a signature costs some hundred microseconds."""

    def caller(self, token: str) -> Caller:
        """Who a token is of. Raises Denied: "unauthenticated", or "denied" where it is good and opens nothing."""
        keys = self.source.keys()
        if keys is not self._keys or len(self._known) >= _MOST_KNOWN:
            self._keys, self._known = keys, {}
        digest = blake2b(token.encode("utf-8", "replace"), digest_size=32).digest()
        found = self._known.get(digest)
        if found is not None and time.time() < found[1]:
            return found[0]
        try:
            claims = self._checked(token, keys)
            who = self._who(claims)
            self._known[digest] = who, float(claims["exp"]) + LEEWAY_S
        except _BROKEN as error:
            raise _refused(type(error).__name__) from None
        return who

    async def fetched(self) -> bool:
        """Whether there are other keys than before, when they were asked for; not longer than an answer may take."""
        before, fetch = self._keys, self.source.fetch()
        if fetch is not None:
            await asyncio.wait([asyncio.wrap_future(fetch)], timeout=FETCH_TIMEOUT_S)
        return self.source.keys() is not before

    def _checked(self, token: str, keys: tuple[PublicKey, ...]) -> dict[str, Any]:
        if len(token) > _MOST_CHARS:
            raise _refused("it is too long")
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise _refused("its algorithm is not one that is taken")
        for key in _fitting(keys, header.get("kid"), algorithm):
            try:
                return jwt.decode(
                    token, key.key, algorithms=[algorithm], issuer=self._wanted.issuer, audience=self._wanted.audience,
                    leeway=LEEWAY_S, options={"require": ["exp", "iss", "aud", "sub"]},
                )  # fmt: skip
            except jwt.InvalidSignatureError:
                continue
        raise _refused("no key that is known has signed it", NotSigned)

    def _who(self, claims: Mapping[str, Any]) -> Caller:
        subject = claims["sub"]
        if not 0 < len(subject) <= _MOST_SUBJECT or not subject.isprintable() or not subject.strip():
            raise _refused("its subject is no name")
        wanted = self._wanted
        tenant, roles = claims.get(wanted.tenant_claim), claims.get(wanted.role_claim)
        named = [roles] if isinstance(roles, str) else roles if isinstance(roles, list) else []
        may = {scope for role in named if isinstance(role, str) for scope in ROLES.get(role, ())}
        if not isinstance(tenant, str) or _TENANT.fullmatch(tenant) is None:
            raise _opens_nothing(f"its claim {wanted.tenant_claim!r} names no tenant")
        if not may:
            raise _opens_nothing(f"its claim {wanted.role_claim!r} names no role of {', '.join(ROLES)}")
        return Caller(tenant, tuple(scope for scope in SCOPES if scope in may), subject=subject)


def _fitting(keys: tuple[PublicKey, ...], kid: object, algorithm: str) -> Iterator[PublicKey]:
    """Keys that may have signed a token: of that name, or without one on either side."""
    left = _MOST_TRIES
    for key in keys:
        if algorithm in key.algorithms and (not key.kid or kid in (None, key.kid)) and left:
            left -= 1
            yield key


def _refused(why: str, kind: type[Denied] = Denied) -> Denied:
    log.warning("a token was refused: %s", why)
    return kind("this token is not taken", hint="ask its issuer for a new one", code="unauthenticated")


def _opens_nothing(why: str) -> Denied:
    log.warning("a token was refused: %s", why)
    return Denied("this token opens nothing here", hint="it has to name a tenant and a role")
