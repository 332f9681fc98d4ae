"""The keeper's state as plain arrays and back. Orders that matter are kept, so that a restored keeper goes on to the bit."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from rings import risk
from rings.circles import Pull
from rings.entry import RingEntry
from rings.facts import Facts
from rings.history import History
from rings.identity import Registry, RingState
from rings.links import NEVER, Links
from rings.membership import Circle, Membership
from ringwatch.errors import Corrupt

if TYPE_CHECKING:
    from rings.keeper import RingKeeper

Arrays = dict[str, NDArray[Any]]
_T = TypeVar("_T")
_pack, _unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(list[RingEntry]).decode
FORMAT = 3
"""Rises with what is saved: dumps of another format are refused."""
_COUNTS = ("marks", "visits", "last_visits", "most_visits", "expired", "late")


def digest(arrays: Arrays) -> str:
    found = blake2b(digest_size=16)
    for name in sorted(arrays):
        found.update(f"{name}|{arrays[name].dtype.str}|{arrays[name].shape}|".encode())
        found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()


def _ints(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, np.int64)


class _Writer:
    def __init__(self) -> None:
        self.arrays: Arrays = {}

    def ints(self, name: str, values: Iterable[int]) -> None:
        self.arrays[name] = _ints(values)

    def texts(self, name: str, texts: Iterable[str]) -> None:
        raw = [t.encode("utf-8", "surrogatepass") for t in texts]
        self.arrays[name] = np.frombuffer(b"".join(raw), np.uint8)
        self.arrays[f"{name}.ends"] = np.cumsum([len(r) for r in raw], dtype=np.int64)

    def lists(self, name: str, lists: Mapping[int, Sequence[int]]) -> None:
        self.ints(f"{name}.keys", lists)
        self.ragged(name, lists.values())

    def ragged(self, name: str, lists: Iterable[Sequence[int]]) -> None:
        kept = list(lists)
        self.ints(name, (x for values in kept for x in values))
        self.arrays[f"{name}.ends"] = np.cumsum([len(values) for values in kept], dtype=np.int64)

    def pairs(self, name: str, pairs: Mapping[int, int]) -> None:
        self.ints(f"{name}.keys", pairs)
        self.ints(name, pairs.values())


class _Reader:
    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays = arrays

    def raw(self, name: str) -> NDArray[Any]:
        found = self.arrays.get(name)
        if found is None:
            raise Corrupt(f"the saved rings have no {name!r}", hint="an older snapshot is used")
        return found

    def ints(self, name: str) -> list[int]:
        found: list[int] = self.raw(name).tolist()
        return found

    def texts(self, name: str) -> list[str]:
        raw = self.raw(name).tobytes()
        return [raw[a:b].decode("utf-8", "surrogatepass") for a, b in self._spans(name, len(raw))]

    def _spans(self, name: str, length: int) -> list[tuple[int, int]]:
        ends = self.ints(f"{name}.ends")
        starts = [0, *ends[:-1]] if ends else []
        if (ends[-1] if ends else 0) != length or any(a > b for a, b in zip(starts, ends, strict=True)):
            raise Corrupt(f"the saved rings' {name!r} does not add up", hint="an older snapshot is used")
        return list(zip(starts, ends, strict=True))

    def ragged(self, name: str) -> list[list[int]]:
        values = self.ints(name)
        return [values[a:b] for a, b in self._spans(name, len(values))]

    def lists(self, name: str) -> dict[int, list[int]]:
        return self._zip(name, self.ragged(name))

    def arrays_of(self, name: str) -> dict[int, array[int]]:
        return {key: array("i", values) for key, values in self.lists(name).items()}

    def pairs(self, name: str) -> dict[int, int]:
        return self._zip(name, self.ints(name))

    def _zip(self, name: str, values: list[_T]) -> dict[int, _T]:
        keys = self.ints(f"{name}.keys")
        if len(keys) != len(values):
            raise Corrupt(f"the saved rings' {name!r} does not add up", hint="an older snapshot is used")
        return dict(zip(keys, values, strict=True))


def dump(keeper: RingKeeper) -> Arrays:
    writer = _Writer()
    rules, membership = keeper.rules, keeper.membership
    writer.ints(
        "clock",
        [
            FORMAT, rules.hub_cap, rules.window_us, rules.mark_us, rules.community_above,
            -1 if keeper.next_mark_us is None else keeper.next_mark_us, keeper.settled_us,
            membership.next_circle, keeper.registry.next_number, membership.visits,
            *(keeper.counts[name] for name in _COUNTS),
        ],
    )  # fmt: skip
    writer.ints("dormant", [rules.dormant_us])
    writer.texts("kinds", keeper.kinds)
    _dump_links(writer, keeper.links)
    _dump_registry(writer, keeper.registry)
    writer.ints("large", sorted(membership.large))
    writer.lists("circles", {n: c.things for n, c in membership.circles.items()})
    writer.ints("circles.alive", (c.alive for c in membership.circles.values()))
    writer.arrays["circles.strength"] = np.array([c.pull[0] for c in membership.circles.values()], np.float64)
    writer.ints("circles.tie", (x for c in membership.circles.values() for x in c.pull[1:]))
    writer.pairs("circle_of", dict(sorted(membership.circle_of.items())))
    writer.pairs("first", dict(sorted(membership.first.items())))
    writer.pairs("final", dict(sorted(membership.final.items())))
    writer.pairs("queue", membership.queue)
    writer.ints("patterns.keys", sorted(keeper.patterns))
    writer.texts("patterns", ("\0".join(keeper.patterns[u]) for u in sorted(keeper.patterns)))
    writer.texts("learned", ("\0".join((t, u, *p)) for t, u, p in keeper.learned))
    return writer.arrays


def _dump_links(writer: _Writer, links: Links) -> None:
    for name in Links.COLUMNS:
        column = getattr(links, name)
        writer.arrays[name] = np.array(column, dtype=column.typecode)
    writer.texts("user_name", links.user_name)
    writer.texts("thing_name", links.thing_name)
    writer.texts("tenants", (t.name for t in links.tenant_list))
    writer.ints("tenants.first", (t.first_us for t in links.tenant_list))
    writer.ints("tenants.signups", (t.signups for t in links.tenant_list))
    writer.lists("on", links.on)
    writer.lists("of", {u: mine for u, mine in enumerate(links.of) if mine is not None})
    writer.lists("hub_links", links.hub_links)
    writer.pairs("hubs", links.hubs)
    writer.lists("buckets", dict(sorted(links.buckets.items())))
    writer.ints("founded_by.keys", links.founded_by)
    writer.texts("founded_by", links.founded_by.values())


def _dump_registry(writer: _Writer, registry: Registry) -> None:
    rings = list(registry.rings.values())
    writer.texts("rings.id", (r.ring_id for r in rings))
    writer.texts("rings.event", (r.founding_event for r in rings))
    writer.ints("rings.fixed", (x for r in rings for x in (r.number, r.tenant, r.born_us, r.changed_us)))
    writer.ints("rings.history", (
        x for r in rings for x in (r.entries, int(r.busted), NEVER if r.quiet_us is None else r.quiet_us)
    ))  # fmt: skip
    writer.ragged("rings.members", [r.members for r in rings])
    writer.ragged("rings.joined", [r.joined for r in rings])
    writer.ragged("rings.facts", [r.facts for r in rings])
    writer.ragged("rings.risk_facts", [r.risk_facts or () for r in rings])
    writer.ints("rings.fresh", registry.fresh)
    writer.ints("rings.unsettled", registry.unsettled)
    writer.texts("rings.used", sorted(registry.used))
    burned = list(registry.burned.rows())
    writer.texts("burned", (text for row in burned for text in row[:4]))
    writer.ints("burned.at", (row[4] for row in burned))
    _dump_history(writer, registry.history)


def _dump_history(writer: _Writer, history: History) -> None:
    writer.pairs("history.clocks", dict(sorted(history.clocks.items())))
    writer.lists("history.watch", dict(sorted(history.watch.items())))
    writer.pairs("history.queued_by", {u: seq for u, (seq, _) in history.queued_by.items()})
    writer.texts("history.queued_by.event", (event_id for _, event_id in history.queued_by.values()))
    writer.arrays["history.kept"] = np.frombuffer(_pack(history.kept), np.uint8)


def load(keeper: RingKeeper, arrays: Mapping[str, NDArray[Any]]) -> None:
    reader = _Reader(arrays)
    try:
        _load(keeper, reader)
    except (IndexError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise Corrupt(f"the saved rings cannot be read: {error}", hint="an older snapshot is used") from error


def _load(keeper: RingKeeper, reader: _Reader) -> None:
    clock, rules = reader.ints("clock"), keeper.rules
    rest = [rules.hub_cap, rules.window_us, rules.mark_us, rules.community_above]
    if clock[:5] != [FORMAT, *rest] or reader.ints("dormant") != [rules.dormant_us]:
        raise Corrupt("the saved rings were kept by other rules or another version", hint="replay the ledger")
    if tuple(reader.texts("kinds")) != keeper.kinds:
        raise Corrupt("the saved rings were kept for other kinds", hint="replay the ledger")
    links = _load_links(reader, keeper.kinds)
    registry = _load_registry(reader, links)
    membership = Membership(links, rules, registry)
    membership.large = set(reader.ints("large"))
    strengths, ties = reader.raw("circles.strength").tolist(), reader.ints("circles.tie")
    for i, (n, things) in enumerate(reader.lists("circles").items()):
        pull: Pull = (strengths[i], ties[2 * i], ties[2 * i + 1])
        membership.circles[n] = Circle(things, pull, bool(reader.raw("circles.alive")[i]))
    membership.circle_of, membership.queue = reader.pairs("circle_of"), reader.pairs("queue")
    membership.first, membership.final = reader.pairs("first"), reader.pairs("final")
    membership.next_circle, registry.next_number, membership.visits = clock[7:10]
    membership.now_us = registry.now_us = registry.history.now_us = clock[6]
    registry.history.mark_us, registry.history.wanted = rules.mark_us, keeper.registry.history.wanted
    patterns = {
        u: tuple(text.split("\0"))
        for u, text in zip(reader.ints("patterns.keys"), reader.texts("patterns"), strict=True)
    }
    learned = [(p[0], p[1], tuple(p[2:])) for p in (text.split("\0") for text in reader.texts("learned"))]
    _check(links, registry, membership)
    keeper.links, keeper.registry, keeper.membership = links, registry, membership
    keeper.patterns, keeper.learned = patterns, learned
    keeper.next_mark_us, keeper.settled_us = None if clock[5] < 0 else clock[5], clock[6]
    keeper.counts = dict(zip(_COUNTS, clock[10:], strict=True))


def _load_links(reader: _Reader, kinds: tuple[str, ...]) -> Links:
    links = Links(kinds)
    for name, code in Links.COLUMNS.items():
        setattr(links, name, array(code, reader.raw(name).astype(code, casting="safe").tobytes()))
    links.user_ring = [None] * len(links.user_tenant)
    links.user_name, links.thing_name = reader.texts("user_name"), reader.texts("thing_name")
    for name, first_us, signups in zip(
        reader.texts("tenants"), reader.ints("tenants.first"), reader.ints("tenants.signups"), strict=True
    ):
        tenant = links.tenant(name)
        tenant.first_us, tenant.signups = first_us, signups
    free_users, free_things = set(links.free_users), set(links.free_things)
    for u, name in enumerate(links.user_name):
        if u not in free_users:
            links.tenant_list[links.user_tenant[u]].users[name] = u
    for e, name in enumerate(links.thing_name):
        if e not in free_things:
            links.tenant_list[links.thing_tenant[e]].things[kinds[links.thing_kind[e]]][name] = e
    links.on, links.hub_links = reader.arrays_of("on"), reader.arrays_of("hub_links")
    links.of = [None] * len(links.user_tenant)
    for u, mine in reader.arrays_of("of").items():
        links.of[u] = mine
    links.hubs = reader.pairs("hubs")
    links.buckets = reader.arrays_of("buckets")
    links.founded_by = dict(zip(reader.ints("founded_by.keys"), reader.texts("founded_by"), strict=True))
    links.relist()
    return links


def _load_registry(reader: _Reader, links: Links) -> Registry:
    registry = Registry(links)
    fixed = reader.ints("rings.fixed")
    told = reader.ints("rings.history")
    rows = zip(
        reader.texts("rings.id"), reader.texts("rings.event"), reader.ragged("rings.members"),
        reader.ragged("rings.joined"), reader.ragged("rings.facts"), reader.ragged("rings.risk_facts"), strict=True,
    )  # fmt: skip
    for i, (ring_id, event, members, joined, facts, risk_facts) in enumerate(rows):
        number, tenant, born_us, changed_us = fixed[4 * i : 4 * i + 4]
        ring = RingState(number, ring_id, tenant, event, born_us)
        ring.changed_us, ring.members, ring.joined = changed_us, tuple(members), array("q", joined)
        ring.entries, ring.busted, quiet_us = told[3 * i], bool(told[3 * i + 1]), told[3 * i + 2]
        ring.quiet_us = None if quiet_us == NEVER else quiet_us
        ring.facts = Facts(*facts)
        ring.risk_facts = Facts(*risk_facts) if risk_facts else None
        ring.risk = risk.risk(ring.risk_facts, links.kinds) if ring.risk_facts is not None else 0.0
        registry.rings[number] = registry.by_id[ring_id] = ring
        for u in members:
            registry.of[u] = ring
    registry.fresh = dict.fromkeys(reader.ints("rings.fresh"))
    registry.unsettled = dict.fromkeys(reader.ints("rings.unsettled"))
    registry.used = set(reader.texts("rings.used"))
    texts, times = reader.texts("burned"), reader.ints("burned.at")
    registry.burned.load((*texts[4 * i : 4 * i + 4], at_us) for i, at_us in enumerate(times))  # type: ignore[misc]
    _load_history(reader, registry.history)
    return registry


def _load_history(reader: _Reader, history: History) -> None:
    history.clocks = reader.pairs("history.clocks")
    history.watched({hour: array("q", rings) for hour, rings in reader.lists("history.watch").items()})
    seqs, events = reader.pairs("history.queued_by"), reader.texts("history.queued_by.event")
    history.queued_by = {u: (seq, event) for (u, seq), event in zip(seqs.items(), events, strict=True)}
    try:
        history.kept = _unpack(reader.raw("history.kept").tobytes())
    except msgspec.MsgspecError as error:
        raise Corrupt(f"the saved rings' history cannot be read: {error}", hint="an older snapshot is used") from error


def _check(links: Links, registry: Registry, membership: Membership) -> None:
    """What a damaged file would break later, far from here."""
    n_users, n_things, n_links = len(links.user_name), len(links.thing_name), len(links.link_user)
    for name, code in Links.COLUMNS.items():
        size = {"user": n_users, "thin": n_things, "link": n_links}.get(name[:4])
        if size is not None and len(getattr(links, name)) != size:
            raise Corrupt(f"the saved rings' {name!r} ({code}) has a wrong length", hint="an older snapshot is used")
    members = (u for r in registry.rings.values() for u in r.members)
    for what, numbers, limit in (
        ("users", (*members, *membership.large, *membership.queue, *links.link_user), n_users),
        ("things", (*links.on, *links.hubs, *membership.circle_of, *links.link_thing), n_things),
        ("links", (x for v in (*links.on.values(), *links.hub_links.values(), *links.of) for x in v or ()), n_links),
    ):
        if any(not 0 <= n < limit for n in numbers):
            raise Corrupt(f"the saved rings name {what} that they do not hold", hint="an older snapshot is used")
