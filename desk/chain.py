"""The audit trail as a chain: each entry carries a keyed hash (HMAC-SHA-256) over itself and over the hash of the one before.

Whoever changes, removes or adds an entry without the key breaks the chain, and so does who swaps two. Removing the newest entries leaves
a shorter chain that is whole: that shows against the head (the last entry's number and hash), which is sealed with the key and which
`ringwatch audit head` prints, to be noted elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ledger.key_file import KEY_BYTES, read_key
from ringwatch.errors import BadInput

BEGIN = "0" * 64
"""Hash before the first entry."""
_MOST_TROUBLES = 100


class Entry(msgspec.Struct, frozen=True):
    """One thing that somebody did."""

    tenant: str
    number: int
    """From 1, without a gap, within the tenant."""
    at_us: int
    who: str
    """Who did it: an API key's id or a token's subject; `cli:USER` at the command line."""
    did: str
    """For example "key.create"."""
    kind: str
    target: str
    """What it was done to: kind and id."""
    old: str
    new: str
    """JSON of what was before and is after; empty where there is nothing to tell."""
    why: str
    before: str
    """Hash of the entry before, as hex."""
    hash: str
    """As hex."""


class Head(msgspec.Struct, frozen=True):
    """Where a tenant's chain ends."""

    tenant: str
    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


class Key:
    """What entries are hashed with."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < KEY_BYTES:
            raise BadInput(
                f"the audit key has {len(secret)} bytes", hint=f"at least {KEY_BYTES} random bytes are needed"
            )
        self._secret = secret

    @classmethod
    def of(cls, path: Path, *, make: bool = False) -> Key:
        """Of a file that holds it in hex. `make`: a new one where there is no file, readable by its owner alone."""
        hint = "RINGWATCH_AUDIT_KEY_FILE names it; without it nothing can be verified"
        return cls(read_key(path, "audit key", make=make, hint=hint))

    def hash(self, entry: Entry) -> str:
        """Of everything but its own hash."""
        content = msgspec.structs.astuple(entry)[:-1]
        return hmac.new(self._secret, b"entry" + msgspec.msgpack.encode(content), hashlib.sha256).hexdigest()

    def token(self, tenant: str, kind: str, id_: str) -> str:
        """Stands for an entity where its id may not: the same each time, and nobody without the key gets from one to the other."""
        content = msgspec.msgpack.encode((tenant, kind, id_))
        return hmac.new(self._secret, b"token" + content, hashlib.sha256).hexdigest()[:32]

    def seal(self, head: Head) -> str:
        content = msgspec.msgpack.encode(msgspec.structs.astuple(head))
        return hmac.new(self._secret, b"head" + content, hashlib.sha256).hexdigest()


class Checked(msgspec.Struct, frozen=True):
    """What a look at one tenant's chain found."""

    tenant: str
    entries: int
    head: str
    """NUMBER:HASH of its last entry."""
    troubles: tuple[str, ...]
    """What is not as it was written, at most 100; none: nothing was changed."""


def check(
    key: Key, tenant: str, entries: Iterable[Entry], head: Head | None, seal: str, noted: Head | None = None
) -> Checked:
    """`entries` by number; `head` and its `seal` as they are kept; `noted`: a head that somebody noted earlier."""
    troubles: list[str] = []
    number, before, noted_seen = 0, BEGIN, noted is None
    for entry in entries:
        if entry.number != number + 1:
            which = (
                f"entry {number + 1} is missing"
                if entry.number == number + 2
                else f"entries {number + 1} to {entry.number - 1} are missing"
            )
            troubles.append(which)
        elif entry.before != before:
            troubles.append(f"entry {entry.number} does not follow entry {number}")
        if not hmac.compare_digest(entry.hash, key.hash(entry)):
            troubles.append(f"entry {entry.number} ({entry.did} {entry.kind} {entry.target}) was changed")
        if noted is not None and entry.number == noted.number:
            noted_seen = True
            if not hmac.compare_digest(entry.hash, noted.hash):
                troubles.append(f"entry {entry.number} is not the one that was noted")
        number, before = entry.number, entry.hash
    if head is None:
        troubles += ["the head of the chain is missing"] if number else []
    elif not hmac.compare_digest(seal, key.seal(head)):
        troubles.append("the head of the chain was changed")
    elif (head.number, head.hash) != (number, before):
        troubles.append(f"the chain ends at entry {number}, its head says {head.number}")
    if not noted_seen and noted is not None:
        troubles.append(f"entry {noted.number}, which was noted, is missing")
    return Checked(tenant, number, str(Head(tenant, number, before)), tuple(troubles[:_MOST_TROUBLES]))
