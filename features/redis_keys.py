"""Names of the keys in Redis. All keys of a tenant carry one hash tag, `{tenant}`, so that a script may touch them together.

rw:epoch, rw:rebuild, rw:tenants, rw:sweep      of all tenants: read one by one, never in a script with others
rw:{tenant}:s<8 bytes>                record of an entity        g<8 bytes>   second record of a user
rw:{tenant}:i<16 bytes>               marker of an id            r<16 bytes>  its result
rw:{tenant}:epoch, :hold, :began, :signups, :outbox
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ringwatch.errors import BadInput

_TENANT = re.compile(r"[\w.:@-]{1,128}")
_PREFIX = re.compile(r"[\w.:-]{1,64}")


class GlobalKeys:
    """Keys that belong to no tenant."""

    def __init__(self, prefix: str) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise BadInput(f"the prefix of the state's keys is {prefix!r}", hint="1 to 64 of letters, digits, _ . : -")
        self.prefix = prefix
        self.epoch = f"{prefix}:epoch".encode()
        self.rebuild = f"{prefix}:rebuild".encode()
        self.tenants = f"{prefix}:tenants".encode()
        self.sweep = f"{prefix}:sweep".encode()


class TenantKeys:
    """Keys of one tenant."""

    def __init__(self, prefix: str, tenant: str) -> None:
        if not _TENANT.fullmatch(tenant):
            raise BadInput(f"the tenant is {tenant!r}", hint="1 to 128 of letters, digits, _ . : @ -")
        start = f"{prefix}:{{{tenant}}}:"
        self.tenant = tenant
        self.epoch = f"{start}epoch".encode()
        self.hold = f"{start}hold".encode()
        self.began = f"{start}began".encode()
        self.signups = f"{start}signups".encode()
        self.outbox = f"{start}outbox".encode()
        self.record = f"{start}s".encode()
        self.ring = f"{start}g".encode()
        self.marker = f"{start}i".encode()
        self.result = f"{start}r".encode()

    def records(self, keys: NDArray[np.uint64]) -> list[bytes]:
        return _named(self.record, keys)

    def rings(self, keys: NDArray[np.uint64]) -> list[bytes]:
        return _named(self.ring, keys)

    def markers(self, hashes: Sequence[bytes]) -> list[bytes]:
        start = self.marker
        return [start + h for h in hashes]

    def results(self, hashes: Sequence[bytes]) -> list[bytes]:
        start = self.result
        return [start + h for h in hashes]


def id_hash(entry_id: str) -> bytes:
    """16 bytes of an id."""
    return blake2b(entry_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _named(start: bytes, keys: NDArray[np.uint64]) -> list[bytes]:
    raw = keys.astype("<u8", copy=False).tobytes()
    return [start + raw[i : i + 8] for i in range(0, len(raw), 8)]
