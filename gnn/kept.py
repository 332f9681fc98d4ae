"""What the latest embeddings were made of, and the hood of an event as it was scored: packed, to be kept beside its decision.

The inputs of an embedding are gone once its entity, or one that it met, is refreshed anew; so those of the last ones are kept, found by the
number of the embedding. Where one is older than these, its links to those the entity met are not told; the embedding is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from gnn.network import Gnn, Scored
from gnn.records import Placed, Refresh, matching
from gnn.removal import Hood
from gnn.schema import GraphSchema
from ringwatch.errors import Corrupt

MOST = 1 << 19
"""Embeddings of which the inputs are kept: about 230 bytes each."""
_FORMAT = b"\x01"


class Inputs(NamedTuple):
    """Of the last embeddings, each at its number modulo the rows."""

    number: NDArray[np.int64]
    """(m,): of the embedding, plus 1; 0 where there is none."""
    first: NDArray[np.float32]
    """(m, width): first layer of the entity."""
    met: NDArray[np.int32]
    """(m, neighbours): numbers of entities."""
    met_kind: NDArray[np.int16]
    met_version: NDArray[np.int64]
    """(m, neighbours): their embeddings; -1 for none."""
    met_age_us: NDArray[np.int64]


class Kept:
    """`most`: embeddings whose inputs are kept; memory is taken as it is written to."""

    def __init__(self, schema: GraphSchema, width: int, most: int = MOST) -> None:
        self._most, near = most, schema.caps.neighbours
        self._of = Inputs(
            np.zeros(most, np.int64), np.zeros((most, width), np.float32), np.zeros((most, near), np.int32),
            np.zeros((most, near), np.int16), np.zeros((most, near), np.int64), np.zeros((most, near), np.int64),
        )  # fmt: skip

    def note(self, made: Refresh, met_kind: NDArray[np.int16], versions: int) -> Callable[[NDArray[np.float32]], None]:
        """The last embeddings of a stream of `versions` so far. What is given back takes their first layers, once computed."""
        m = min(len(made.entity), self._most)
        places = np.arange(versions - m, versions) % self._most
        self._of.number[places] = np.arange(versions - m, versions) + 1
        since = len(made.entity) - m
        self._of.met[places], self._of.met_kind[places] = made.met[since:], met_kind[since:]
        self._of.met_version[places], self._of.met_age_us[places] = made.met_version[since:], made.met_age_us[since:]

        def take(first: NDArray[np.float32]) -> None:
            self._of.first[places] = first[since:]

        return take

    def _place(self, version: int) -> int:
        """-1 where it is not kept any more."""
        place = version % self._most
        return place if version >= 0 and self._of.number[place] == version + 1 else -1

    def behind(self, version: int, first: NDArray[np.float32]) -> int:
        """First layers of an embedding's entity and of those it met into `first` (1 + neighbours, width). The place of the embedding; -1
        where not all of that is kept."""
        place = self._place(version)
        if place < 0:
            return -1
        there = np.flatnonzero(self._of.met_version[place] >= 0).tolist()
        places = [self._place(int(self._of.met_version[place, p])) for p in there]
        if min(places, default=0) < 0:
            return -1
        first[0] = self._of.first[place]
        first[[1 + p for p in there]] = self._of.first[places]
        return place

    def met(self, place: int) -> Inputs:
        return Inputs._make(a[place] for a in self._of)

    def forget(self, entities: NDArray[np.int64]) -> None:
        """Numbers that others may have from now on."""
        gone = np.zeros(max(int(entities.max(initial=-1)), int(self._of.met.max(initial=0))) + 1, np.bool_)
        gone[entities] = True
        self._of.number[(gone[self._of.met] & (self._of.met_version >= 0)).any(axis=1)] = 0

    def dump(self) -> dict[str, NDArray[Any]]:
        """All of it, for `load`."""
        used = int(np.count_nonzero(self._of.number)) and int(np.flatnonzero(self._of.number)[-1]) + 1
        return {name: a[:used].copy() for name, a in self._of._asdict().items()}

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """What `dump` gave; nothing is kept without any. Raises KeyError or ValueError for anything else."""
        self._of.number[:] = 0
        for name, to in self._of._asdict().items() if arrays else ():
            used = len(arrays["number"])
            to[:used] = matching(arrays[name], to[:used])


def hood_at(
    kept: Kept, type_: int, entity: NDArray[np.int32], placed: Placed, scored: Scored, row: int
) -> tuple[Hood, NDArray[np.int32]]:
    """Of an event of a batch, as it was scored; and the numbers of those its entities met, (kinds, neighbours), -1 for none."""
    kinds, near = len(entity), kept.met(0).met.shape[0]
    width = scored.embeddings.shape[2]
    known = placed.version[row] >= 0
    first = np.zeros((kinds, 1 + near, width), np.float32)
    met_kind, met = np.full((kinds, near), -1, np.int16), np.full((kinds, near), -1, np.int32)
    met_age_us = np.zeros((kinds, near), np.int64)
    for k in np.flatnonzero(known).tolist():
        if (place := kept.behind(int(placed.version[row, k]), first[k])) < 0:
            continue
        of = kept.met(place)
        there = of.met_version >= 0
        met_kind[k, there], met[k, there], met_age_us[k, there] = (
            of.met_kind[there],
            of.met[there],
            of.met_age_us[there],
        )
    embedded = np.where(known[:, None], scored.embeddings[row], np.float32(0.0))
    hood = Hood(
        placed.x[row].copy(), type_, entity.copy(), placed.age_us[row].copy(), np.zeros(0, np.float32), first, known, embedded, met_kind, met_age_us
    )  # fmt: skip
    return hood, met


class _Packed(msgspec.Struct, array_like=True):
    """Little-endian, in the order of `Hood`; of what is there alone: `entity` as which kinds there are, then which embeddings count."""

    type: int
    x: bytes
    there: bytes
    known: bytes
    age_us: bytes
    embedded: bytes
    met_kind: bytes
    met_key: bytes
    met_age_us: bytes
    first: bytes


def pack(hood: Hood, met_key: NDArray[np.uint64]) -> bytes:
    """`met_key`: (kinds, neighbours), keys of those met. A few kilobytes."""
    at = np.flatnonzero(hood.known)
    packed = _Packed(
        hood.type, _bytes(hood.x, "<f4"), _bytes(hood.entity >= 0, "?"), _bytes(hood.known, "?"), _bytes(hood.age_us[at], "<i8"),
        _bytes(hood.embedded[at], "<f4"), _bytes(hood.met_kind[at], "<i2"), _bytes(met_key[at], "<u8"), _bytes(hood.met_age_us[at], "<i8"),
        _bytes(hood.first[at], "<f4"),
    )  # fmt: skip
    return _FORMAT + zlib.compress(msgspec.msgpack.encode(packed), 1)


def unpack(packed: bytes, gnn: Gnn) -> tuple[Hood, NDArray[np.uint64]]:
    """What was packed of an event that this network scored. Raises Corrupt for anything else."""
    kinds, near, width = len(gnn.schema.kinds), gnn.schema.caps.neighbours, gnn.shape.width
    try:
        if packed[:1] != _FORMAT:
            raise ValueError(f"format {packed[:1]!r}")
        p = msgspec.msgpack.decode(zlib.decompress(packed[1:]), type=_Packed)
        known = _array(p.known, "?", (kinds,))
        n = int(known.sum())

        def spread(data: bytes, code: str, to: NDArray[Any]) -> NDArray[Any]:
            to[known] = _array(data, code, (n, *to.shape[1:]))
            return to

        entity = np.where(_array(p.there, "?", (kinds,)), 0, -1).astype(np.int32)
        hood = Hood(
            _array(p.x, "<f4", (gnn.shape.inputs,)), p.type, entity, spread(p.age_us, "<i8", np.zeros(kinds, np.int64)),
            np.full(gnn.shape.dense, np.nan, np.float32), spread(p.first, "<f4", np.zeros((kinds, 1 + near, width), np.float32)), known,
            spread(p.embedded, "<f4", np.zeros((kinds, width), np.float32)), spread(p.met_kind, "<i2", np.full((kinds, near), -1, np.int16)),
            spread(p.met_age_us, "<i8", np.zeros((kinds, near), np.int64)),
        )  # fmt: skip
        return hood, spread(p.met_key, "<u8", np.zeros((kinds, near), np.uint64))
    except (zlib.error, ValueError, msgspec.DecodeError) as error:
        raise Corrupt(
            f"what a network saw of an event cannot be read: {error}", hint="which version or model wrote it?"
        ) from None


def _bytes(a: NDArray[Any], code: str) -> bytes:
    return np.ascontiguousarray(a).astype(code).tobytes()


def _array(data: bytes, code: str, shape: Sequence[int]) -> NDArray[Any]:
    """In the machine's order. Raises ValueError for another size."""
    return np.frombuffer(data, code).reshape(shape).astype(np.dtype(code).newbyteorder("="))
