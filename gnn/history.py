"""A stream of events and labels as columns: what a graph network learns from and is replayed over."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.kernel import Columns
from ringwatch.errors import BadInput

GOOD, FRAUD = 0, 1
NEVER_US = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in order of time, equal times by event id; rows are numbered from 0."""

    at_us: NDArray[np.int64]
    """(n,)"""
    type: NDArray[np.int16]
    """(n,): code of the event's type."""
    amount_log: NDArray[np.float32]
    """(n,): natural log of 1 + amount in minor units; NaN where there is none."""
    failed: NDArray[np.int8]
    """(n,): -1 no outcome, 0 success, 1 failure."""
    entity: NDArray[np.int32]
    """(n, kinds): a number of its own for each entity, over all kinds; -1 for none."""
    token: NDArray[np.uint64]
    """(n,): hash of the event's id; says which events of a crowded entity are kept."""

    def __len__(self) -> int:
        return len(self.at_us)

    def __getitem__(self, rows: slice) -> Batch:
        return Batch(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels in the order in which they became known."""

    row: NDArray[np.int64]
    """(m,): the event it is about."""
    value: NDArray[np.int8]
    """(m,): 1 fraud, 0 good."""
    known_us: NDArray[np.int64]
    """(m,)"""

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, some: slice) -> Labels:
        return Labels(self.row[some], self.value[some], self.known_us[some])

    @classmethod
    def none(cls) -> Labels:
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int8), np.zeros(0, np.int64))

    @classmethod
    def ordered(cls, row: NDArray[np.int64], value: NDArray[np.int8], known_us: NDArray[np.int64]) -> Labels:
        """Of labels in any order: by the time they became known, then by row."""
        order = np.lexsort((row, known_us))
        return cls(row[order].astype(np.int64), value[order].astype(np.int8), known_us[order].astype(np.int64))


@dataclass(frozen=True, slots=True)
class History:
    """All events of a stream and all labels that may be used in it."""

    events: Batch
    labels: Labels
    kinds: tuple[str, ...]
    """Of the columns of `events.entity`."""
    crowded: tuple[bool, ...]
    """Of each kind, whether its entities are met by many, so that only some of their events are kept."""

    def __post_init__(self) -> None:
        e, known = self.events, self.labels
        for f in fields(e):
            if len(getattr(e, f.name)) != len(e):
                raise BadInput(
                    f"{f.name} has {len(getattr(e, f.name))} rows of {len(e)}", hint="give one for each event"
                )
        if e.entity.shape[1:] != (len(self.kinds),) or len(self.crowded) != len(self.kinds):
            raise BadInput(
                f"entities of shape {e.entity.shape} for kinds {self.kinds}", hint="one column for each kind"
            )
        if len(e) and (e.at_us[1:] < e.at_us[:-1]).any():
            row = int((e.at_us[1:] < e.at_us[:-1]).argmax()) + 1
            raise BadInput(f"event {row} is before the one it follows", hint="sort events by time, then by id")
        if not len(known):
            return
        if (known.known_us[1:] < known.known_us[:-1]).any():
            raise BadInput("labels are not in the order in which they became known", hint="use Labels.ordered")
        if known.row.min() < 0 or known.row.max() >= len(e):
            raise BadInput(f"a label is about event {known.row.max()} of {len(e)}", hint="rows are numbered from 0")
        if (known.known_us < e.at_us[known.row]).any():
            row = int(known.row[(known.known_us < e.at_us[known.row]).argmax()])
            raise BadInput(f"the label of event {row} is known before the event", hint="add the label's delay")

    @property
    def entities(self) -> int:
        """How many numbers entities have."""
        return int(self.events.entity.max(initial=-1)) + 1

    def until(self, rows: int, known_us: int) -> History:
        """Its first events, and what labels told of them by a time."""
        known = self.labels
        some = (known.row < rows) & (known.known_us <= known_us)
        labels = Labels(known.row[some], known.value[some], known.known_us[some])
        return History(self.events[slice(0, rows)], labels, self.kinds, self.crowded)


def batch_of(columns: Columns, numbers: NDArray[np.int32], token: NDArray[np.uint64]) -> Batch:
    """The kernel's columns of events (no labels among them); `numbers` from `Numbering.of(columns.keys)`."""
    amount = np.log1p(np.maximum(columns.amount, 0.0)).astype(np.float32)
    return Batch(columns.at_us, columns.op.astype(np.int16), amount, columns.fail, numbers, token)


class Numbering:
    """Numbers for entities in the order in which they are met: of a stream the same for any batch size."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int], int] = {}
        self._keys: list[int] = []
        """Of each number the hash of its entity."""
        self._free: list[int] = []
        """Numbers that were given back; the last one goes next."""

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """(n, kinds) hashes of entities, 0 for none, to their numbers, -1 for none."""
        numbers = np.full(keys.shape, -1, np.int32)
        known = self._numbers
        for i, row in enumerate(keys.tolist()):
            for k, key in enumerate(row):
                if key:
                    number = known.get((k, key))
                    if number is None:
                        number = known[k, key] = self._free.pop() if self._free else len(self._keys)
                        self._keys[number : number + 1] = (key,)
                    numbers[i, k] = number
        return numbers

    def keys(self, numbers: NDArray[np.int32]) -> NDArray[np.uint64]:
        """Hashes of entities, 0 for the number -1."""
        known = self._keys
        return np.array([0 if n < 0 else known[n] for n in numbers.ravel().tolist()], np.uint64).reshape(numbers.shape)

    def drop(self, numbers: NDArray[np.int64]) -> None:
        """Give them back: others may have them."""
        gone = set(numbers.tolist()).difference(self._free)
        self._numbers = {of: number for of, number in self._numbers.items() if number not in gone}
        self._free += sorted(gone)

    def dump(self) -> dict[str, NDArray[Any]]:
        """All it knows, for `load`."""
        pairs = np.array(list(self._numbers), np.uint64).reshape(-1, 2)
        return {
            "kind": pairs[:, 0].astype(np.int16),
            "key": pairs[:, 1],
            "number": np.array(list(self._numbers.values()), np.int32),
            "free": np.array(self._free, np.int32),
        }

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        pairs = zip(arrays["kind"].tolist(), arrays["key"].tolist(), strict=True)
        self._numbers = dict(zip(pairs, arrays["number"].tolist(), strict=True))
        self._free = arrays["free"].tolist()
        self._keys = [0] * (max([*self._numbers.values(), *self._free], default=-1) + 1)
        for (_, key), number in self._numbers.items():
            self._keys[number] = key


def tokens(n: int, start: int = 0) -> NDArray[np.uint64]:
    """Hashes of row numbers, for histories whose events have no ids (splitmix64: Steele, Lea, Flood 2014)."""
    z = (np.arange(start, start + n, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def fingerprint(history: History, *others: NDArray[Any]) -> str:
    """A hash of all of a history's data, and of what else is given."""
    digest = hashlib.blake2b(repr((history.kinds, history.crowded)).encode(), digest_size=8)
    for part in (history.events, history.labels):
        for f in fields(part):
            digest.update(np.ascontiguousarray(getattr(part, f.name)).data)
    for array in others:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
