"""Records as bytes for a store outside of this process: most of a record is zero, and zeros are left out.

A packed record is 8-byte words, little endian: a version (1), which words are not zero (2, a bit each), those words. 24
to 1,040 bytes.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.compiled import compiled
from features.record import RECORD

WORDS = RECORD.itemsize // 8
_HEAD = 3
_MOST = WORDS + _HEAD


def _real_bits() -> NDArray[np.uint64]:
    """Ones where a record has fields: numpy does not copy what lies between them."""
    real = np.zeros(RECORD.itemsize, np.uint8)
    for dtype, offset, *_ in (RECORD.fields or {}).values():
        real[offset : offset + dtype.itemsize] = 255
    return real.view(np.uint64)


_REAL = _real_bits()

assert RECORD.itemsize % 8 == 0
assert WORDS <= 128


@compiled
def _unpack(packed: NDArray[np.uint64], out: NDArray[np.uint64], versions: NDArray[np.uint64]) -> int:
    """Fill `out` (n, WORDS), which is zero. Number of words read, -1 when they do not end with the last record."""
    at = 0
    for i in range(versions.size):
        if at + 3 > packed.size:
            return -1
        versions[i] = packed[at]
        bits = at + 1
        at += 3
        for word in range(128):
            if packed[bits + (word >> 6)] >> np.uint64(word & 63) & np.uint64(1):
                if word >= out.shape[1] or at >= packed.size:
                    return -1
                out[i, word] = packed[at]
                at += 1
    return at


@compiled
def _pack(
    words: NDArray[np.uint64],
    rows: NDArray[np.int64],
    versions: NDArray[np.uint64],
    fresh: int,
    out: NDArray[np.uint64],
    ends: NDArray[np.int64],
) -> None:
    at = 0
    for n in range(rows.size):
        start = at
        version = versions[rows[n]]
        out[start] = version + np.uint64(1) if version != np.uint64(0) else np.uint64(fresh)
        out[start + 1] = np.uint64(0)
        out[start + 2] = np.uint64(0)
        at += 3
        for word in range(words.shape[1]):
            value = words[rows[n], word] & _REAL[word]
            if value != np.uint64(0):
                out[start + 1 + (word >> 6)] |= np.uint64(1) << np.uint64(word & 63)
                out[at] = value
                at += 1
        ends[n] = 8 * at


@compiled
def _plan(
    now: NDArray[np.uint64],
    before: NDArray[np.uint64],
    kinds: NDArray[np.uint8],
    crowded: NDArray[np.bool_],
    out: NDArray[np.int64],
) -> tuple[int, int]:
    """Sort the rows into out: plain ones that changed from the front, crowded ones that changed from the back, then the
    plain ones that did not. (plain that changed, crowded that changed)"""
    writes, mixed = 0, 0
    same = np.empty(now.shape[0], np.int64)
    n_same = 0
    for i in range(now.shape[0]):
        differs = i >= before.shape[0]
        if not differs:
            for word in range(now.shape[1]):
                if (now[i, word] ^ before[i, word]) & _REAL[word]:
                    differs = True
                    break
        if crowded[kinds[i]]:
            if differs:
                mixed += 1
                out[out.size - mixed] = i
        elif differs:
            out[writes] = i
            writes += 1
        else:
            same[n_same] = i
            n_same += 1
    out[writes : writes + n_same] = same[:n_same]
    return writes, mixed


def as_words(records: NDArray[Any]) -> NDArray[np.uint64]:
    """The same memory as (n, WORDS) words."""
    return records.view(np.uint64).reshape(len(records), WORDS)


def unpack(values: Sequence[bytes]) -> tuple[NDArray[Any], NDArray[np.uint64]]:
    """(records, versions) of packed records. Raises `ValueError` when they are none."""
    records = np.zeros(len(values), RECORD)
    versions = np.zeros(len(values), np.uint64)
    packed = np.frombuffer(b"".join(values), np.uint64)
    if _unpack(packed, as_words(records), versions) != len(packed):
        raise ValueError("not packed records")
    return records, versions


def pack(records: NDArray[Any], rows: NDArray[np.int64], versions: NDArray[np.uint64]) -> list[bytes]:
    """Some rows of `records`, each with the version that follows its own (`versions` is of all rows).

    That of a new record, version 0, is the time, so that no version is used twice under a key whose record was removed.
    """
    out = np.empty(len(rows) * _MOST, np.uint64)
    ends = np.empty(len(rows), np.int64)
    _pack(as_words(records), rows, versions, time.time_ns() // 1000, out, ends)
    raw = out.data.cast("B")
    return [bytes(raw[a:b]) for a, b in itertools.pairwise((0, *ends.tolist()))]


class Plan(NamedTuple):
    """Which rows of a batch are written."""

    plain: NDArray[np.int64]
    """Rows of kinds that are not crowded: those that changed, then the others."""
    writes: int
    """How many of them changed."""
    mixed: NDArray[np.int64]
    """Rows of crowded kinds that changed."""


def plan(now: NDArray[Any], before: NDArray[Any], crowded: NDArray[np.bool_]) -> Plan:
    """Compare rows with what they were; those beyond `before` are new. `crowded`: by kind."""
    out = np.empty(len(now), np.int64)
    writes, mixed = _plan(as_words(now), as_words(before), now["kind"], crowded, out)
    n_plain = len(now) - int(np.count_nonzero(crowded[now["kind"]]))
    return Plan(out[:n_plain], writes, out[len(now) - mixed :])
