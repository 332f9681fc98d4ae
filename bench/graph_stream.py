"""Link updates as events make them: endless batches, or a long history whose every count is known beforehand.

An event names a user, device, card, address, ip and merchant, so it touches five links. With the repeat share its user
is an old one, back on the same device, card and address; else the user is new, on things of its own but for one in
twenty, who shares them. Ips are shared by about ten users, merchants by all: the first has two users in three.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from graph.store import EntityRef, EntityUpdate, GraphBatch, LinkUpdate

KINDS = ("user", "device", "card", "address", "ip", "merchant")
TENANT = "default"
AMOUNT_MINOR = 1999
"""Of every event."""
START_US = 1_767_225_600_000_000
STEP_US = 100_000
"""Between two events of a history."""
MERCHANTS = 20_000
CHUNK = 10_000
Ints = npt.NDArray[np.int64]
Numbers = TypeVar("Numbers", int, Ints)


def draw(rng: np.random.Generator, count: int, users: int, repeat_share: float) -> tuple[dict[str, Ints], int]:
    """Kind -> the number of the thing each of the next events names, and how many users there are then; `users` before."""
    new = rng.random(count) >= repeat_share
    new[0] |= users == 0
    after = users + np.cumsum(new)
    user = np.where(new, after - 1, (rng.random(count) * (after - new)).astype(np.int64))
    owner = np.where(user % 20 == 0, user // 2, user)
    ip = (rng.random(count) * (after // 10 + 10)).astype(np.int64)
    merchant = np.fmod(np.floor((1.0 - rng.random(count)) ** (-1 / 0.7)), MERCHANTS).astype(np.int64)
    columns = (user, owner, user, owner, ip, merchant)
    return dict(zip(KINDS, columns, strict=True)), int(after[-1])


def stream(batch: int, repeat_share: float, seed: int = 1, tenant: str = TENANT) -> Iterator[GraphBatch]:
    """Batches of about `batch` distinct links; the number of the batch is the time of its events."""
    rng = np.random.default_rng(seed)
    users = position = 0
    pending = Pending(tenant)
    while True:
        columns, users = draw(rng, CHUNK, users, repeat_share)
        for numbers in zip(*(columns[kind].tolist() for kind in KINDS), strict=True):
            pending.event(numbers, position)
            if len(pending.links) >= batch:
                yield pending.batch(position)
                pending = Pending(tenant)
                position += 1


class Pending:
    """Updates of one batch, merged."""

    def __init__(self, tenant: str = TENANT) -> None:
        self._tenant = tenant
        self.refs: dict[tuple[str, int], EntityRef] = {}
        self.entities: dict[tuple[str, int], EntityUpdate] = {}
        self.links: dict[tuple[int, str, int], LinkUpdate] = {}

    def event(self, numbers: tuple[int, ...], at_us: int) -> None:
        """`numbers`: as `KINDS`. Times do not go back."""
        user = numbers[0]
        for kind, number in zip(KINDS, numbers, strict=True):
            ref = self.refs.setdefault((kind, number), ref_of(kind, number, self._tenant))
            entity = self.entities.setdefault((kind, number), EntityUpdate(ref, at_us, at_us, 0, 0))
            entity.events += 1
            entity.amount_minor += AMOUNT_MINOR
            entity.last_seen_us = at_us
            if kind != "user":
                nearest = LinkUpdate(self.refs["user", user], ref, at_us, at_us, 0, 0)
                link = self.links.setdefault((user, kind, number), nearest)
                link.events += 1
                link.amount_minor += AMOUNT_MINOR
                link.last_seen_us = at_us

    def batch(self, position: int) -> GraphBatch:
        links = [self.links[key] for key in sorted(self.links)]
        return GraphBatch([self.entities[key] for key in sorted(self.entities)], links, position)


def ref_of(kind: str, number: int, tenant: str = TENANT) -> EntityRef:
    return EntityRef(tenant, kind, f"{kind}-{number}")


@dataclass(frozen=True, slots=True)
class Groups:
    """Events of a history with the same key, one row a key: the first of them, the last, how many."""

    first: Ints
    last: Ints
    events: Ints


@dataclass(frozen=True, slots=True)
class History:
    """Events of one tenant, `STEP_US` apart; an event is known by its number from 0."""

    columns: Mapping[str, Ints]
    """Kind -> the number of the thing each event names."""
    links: Ints
    """How many distinct links there are after each event."""
    entities: Ints

    @classmethod
    def drawn(cls, links: int, more: int, repeat_share: float, seed: int = 1) -> Self:
        """Long enough for `links` distinct links and `more` events after them."""
        count = int(links / (5 - 4 * repeat_share)) + 1_000
        while True:
            columns, _ = draw(np.random.default_rng(seed), count + more, 0, repeat_share)
            history = cls(columns, _known(link_keys(columns)), _known({kind: columns[kind] for kind in KINDS}))
            if history.links[count - 1] >= links:
                return history
            count += count // 2

    def events_of(self, links: int) -> int:
        """How many events it takes to make so many distinct links."""
        return int(np.searchsorted(self.links, links)) + 1

    def batches(self, start: int, stop: int, links: int) -> Iterator[tuple[Pending, int]]:
        """The events from `start` until `stop` in batches of about `links` distinct links, each with the event after it."""
        pending = Pending()
        for begin in range(start, stop, CHUNK):
            end = min(begin + CHUNK, stop)
            rows = zip(*(self.columns[kind][begin:end].tolist() for kind in KINDS), strict=True)
            for event, numbers in enumerate(rows, begin):
                pending.event(numbers, at_us(event))
                if len(pending.links) >= links:
                    yield pending, event + 1
                    pending = Pending()
        if pending.links:
            yield pending, stop


def at_us(event: Numbers) -> Numbers:
    """When an event of a history is; for one or for a column of them."""
    return START_US + event * STEP_US


def link_keys(columns: Mapping[str, Ints]) -> dict[str, Ints]:
    """Kind -> user and number in one, for each event."""
    return {kind: columns["user"] << 32 | columns[kind] for kind in KINDS if kind != "user"}


def groups(keys: Ints) -> Groups:
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    ends = np.append(starts[1:], len(keys))
    return Groups(order[starts], order[ends - 1], ends - starts)


def _known(keys: Mapping[str, Ints]) -> Ints:
    """How many distinct keys there are after each event, of all kinds together."""
    count = len(next(iter(keys.values())))
    return np.cumsum(sum(np.bincount(groups(key).first, minlength=count) for key in keys.values()))
