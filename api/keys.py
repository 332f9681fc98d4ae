"""API keys: one file in the data folder, each key bound to one tenant, only hashes stored.

A key is `rw_<id>_<secret>`; the id finds the entry, the secret is 256 random bits. A slow password hash would gain
nothing against a secret nobody can guess and would cost every request, so the hash is BLAKE2b, keyed with 16 random
bytes of its own entry. The file is written whole under another name and renamed; the server looks at its inode and
time with every request, so a revoked key is refused with the next one.
"""

from __future__ import annotations

import base64
import fcntl
import hmac
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import msgspec

from ringwatch.errors import BadInput, Corrupt, Denied, NotFound, did_you_mean

FILE = "api-keys.json"
PREFIX = "rw_"
"""How every key begins: a bearer's token that does not is somebody else's."""
_USE_FILE = "api-key-use.json"
SCOPES = ("score", "read", "label", "operate", "act", "lead", "erase")
"""score: POST /v1/score and /v1/events; label: POST /v1/labels; operate: /metrics and totals of /status; act: decide and work on cases
(GraphQL's mutations); lead, beside act: undo what others decided, take over what others claimed; erase: a person's fields; read: the rest."""
ROLES: dict[str, tuple[str, ...]] = {
    "viewer": ("read",),
    "investigator": ("read", "label", "act"),
    "lead": ("read", "label", "act", "lead"),
    "admin": SCOPES,
    "service": ("score", "label"),
}
"""Named sets of scopes: `ringwatch keys create --role`, and the roles a token names."""
DEFAULT_SCOPES = ("score", "read", "label")


class StoredKey(msgspec.Struct, frozen=True):
    """An entry of the file. Nothing in it gives the key."""

    key_id: str
    tenant: str
    name: str
    scopes: tuple[str, ...]
    salt: str
    hash: str
    created_s: int
    expires_s: int | None = None
    revoked_s: int | None = None
    role: str = ""
    """The role its scopes were taken from when it was made; they stay what they were."""


class Caller(msgspec.Struct, frozen=True):
    """Who asks: from the key or the token alone."""

    tenant: str
    scopes: tuple[str, ...] = SCOPES
    key_id: str = ""
    subject: str = ""
    """Of a token."""

    @property
    def name(self) -> str:
        """For the audit trail."""
        if self.subject:
            return f"jwt:{self.subject}"
        return f"key:{self.key_id}" if self.key_id else "local"

    @property
    def leads(self) -> bool:
        return "lead" in self.scopes

    def need(self, scope: str) -> None:
        if scope in self.scopes:
            return
        roles = ", ".join(role for role, scopes in ROLES.items() if scope in scopes)
        if self.subject:
            raise Denied(f"this token may not {scope}", hint=f"it needs a role that may: {roles}")
        raise Denied(f"this key may not {scope}", hint=f"make one with --scopes {scope}, or a role: {roles}")


class KeyFile:
    """Reads and changes the keys of one data folder. Changes by several processes take turns."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._path, self._use_path = folder / FILE, folder / _USE_FILE
        self._clock = clock
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, StoredKey] = {}
        self._seen_any = False
        self.used: dict[str, int] = {}
        """key id -> second of its last use, of this process."""

    def required(self) -> bool:
        """Whether there are keys, or were since this process began: a file that vanishes opens nothing."""
        self._refresh()
        return self._seen_any

    def tenants(self) -> set[str]:
        """Tenants with a key that is not revoked."""
        self._refresh()
        return {key.tenant for key in self._keys.values() if key.revoked_s is None}

    def caller(self, token: str) -> Caller:
        """Who holds a token. Raises Denied(code="unauthenticated"), saying nothing about which part was wrong."""
        self._refresh()
        key_id, secret = _parts(token)
        key = self._keys.get(key_id, _NOBODY)
        good = hmac.compare_digest(_hash(secret, key.salt), key.hash)
        now_s = int(self._clock())
        if not good or key.revoked_s is not None or (key.expires_s is not None and key.expires_s <= now_s):
            raise Denied("this key is not known, expired or revoked", hint="`ringwatch keys create` makes one", code="unauthenticated")  # fmt: skip
        self.used[key_id] = now_s
        return Caller(key.tenant, key.scopes, key_id)

    def create(
        self, tenant: str, name: str, scopes: tuple[str, ...], days: float | None = None, role: str = ""
    ) -> tuple[StoredKey, str]:
        """A new key and its token, which is shown this once. With a role, its scopes."""
        if role:
            scopes = role_scopes(role)
        for scope in scopes:
            if scope not in SCOPES:
                raise BadInput(f"scope {scope!r} is not known", hint=f"there are {', '.join(SCOPES)}")
        key_id, secret, salt = secrets.token_hex(6), _text(secrets.token_bytes(32)), secrets.token_hex(16)
        now_s = int(self._clock())
        expires_s = None if days is None else now_s + int(days * 86_400)
        key = StoredKey(key_id, tenant, name, scopes, salt, _hash(secret, salt), now_s, expires_s, role=role)
        with self._changing() as keys:
            keys[key_id] = key
        return key, f"{PREFIX}{key_id}_{secret}"

    def revoke(self, which: str) -> list[tuple[StoredKey, StoredKey]]:
        """Revoke by id or name; those that were not yet, as they were and as they are. Raises NotFound."""
        with self._changing() as keys:
            found = [k for k in keys.values() if which in (k.key_id, k.name) and k.revoked_s is None]
            if not found:
                raise NotFound(f"there is no key {which!r} to revoke", hint="`ringwatch keys list`")
            revoked = [(key, msgspec.structs.replace(key, revoked_s=int(self._clock()))) for key in found]
            keys.update({key.key_id: key for _, key in revoked})
        return revoked

    def entries(self) -> list[StoredKey]:
        self._refresh()
        return sorted(self._keys.values(), key=lambda k: (k.created_s, k.key_id))

    def last_used(self) -> dict[str, int]:
        """key id -> second of its last use, as last noted."""
        try:
            return msgspec.json.decode(self._use_path.read_bytes(), type=dict[str, int])
        except (OSError, msgspec.MsgspecError):
            return {}

    def note_use(self) -> None:
        """Keep when keys were used last. Called now and then, not with every request."""
        if self.used:
            _write(self._use_path, {**self.last_used(), **self.used})

    def _refresh(self) -> None:
        try:
            stat = os.stat(self._path)
        except FileNotFoundError:
            self._keys, self._stamp = {}, None
            return
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if stamp != self._stamp:
            self._seen_any = True
            self._keys = self._read()
            self._stamp = stamp

    def _read(self) -> dict[str, StoredKey]:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=list[StoredKey])
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError as error:
            raise Corrupt(f"{self._path} cannot be read: {error}", hint="restore it, or remove it and make new keys") from None  # fmt: skip
        return {key.key_id: key for key in found}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, StoredKey]]:
        """The entries to change; written when the block ends well. One process at a time."""
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self._read()
            yield keys
            _write(self._path, list(keys.values()))


def role_scopes(role: str) -> tuple[str, ...]:
    """Raises BadInput for a role there is not."""
    if role not in ROLES:
        raise BadInput(f"role {role!r} is not known", hint=did_you_mean(role, ROLES))
    return ROLES[role]


def _write(path: Path, content: object) -> None:
    """Whole or not at all, for its owner's eyes only."""
    part = path.with_suffix(".part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _parts(token: str) -> tuple[str, str]:
    pieces = token.split("_", 2)
    return (pieces[1], pieces[2]) if len(pieces) == 3 and pieces[0] == "rw" else ("", "")


def _hash(secret: str, salt: str) -> str:
    return blake2b(secret.encode("utf-8", "replace"), key=salt.encode(), digest_size=32).hexdigest()


def _text(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).decode().rstrip("=")


_NOBODY = StoredKey("", "", "", (), "0" * 32, "0" * 64, 0, expires_s=0)
"""Compared with when no entry has the id, so that it takes as long."""
