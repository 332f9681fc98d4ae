"""The history of rings: entries that replay to the keeper's members at any time, the same however the stream is cut."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from support.plain_rings import SCHEMA, Plain, expected
from support.streams import START_US, stream

from features.columns import Applied, ResolvedLabel
from rings.as_of import RingThen, as_of, sentence
from rings.entry import WHATS, RingEntry
from rings.facts import shared_things
from rings.identity import RingState
from rings.keeper import RingKeeper, RingRules
from rings.published import Published
from ringwatch.model import DAY_US, HOUR_US, Event, Label

Groups = dict[str, tuple[int, tuple[int, ...]]]
"""ring id -> when it was born, members."""


def event(n: int, user: str, at_us: int = START_US, **entities: str) -> Event:
    return Event(f"e{n}", "login", at_us, {"user": user, **entities})


def told(rules: RingRules, items: Sequence[Applied], cut: int = 1) -> list[RingEntry]:
    keeper = RingKeeper(SCHEMA, rules)
    keeper.keep_history()
    run(keeper, items, cut)
    return keeper.take_history()


def run(keeper: RingKeeper, items: Sequence[Applied], cut: int = 1, start: int = 0) -> None:
    part: list[tuple[int, Applied]] = []

    def flush() -> None:
        keeper.apply(part, np.empty((len(part), SCHEMA.size), np.float32))
        part.clear()

    for seq, item in enumerate(items, start):
        if isinstance(item, Event) and (keeper.next_mark_us is None or item.at_us >= keeper.next_mark_us):
            flush()
            keeper.advance(item.at_us)
        part.append((seq, item))
        if len(part) >= cut:
            flush()
    flush()


class Replayed:
    """Rings as their entries say, kept up as they come."""

    def __init__(self) -> None:
        self.rings: dict[tuple[str, str], RingThen] = {}
        self.entries: dict[tuple[str, str], list[RingEntry]] = {}

    def take(self, entries: Iterable[RingEntry]) -> None:
        for entry in entries:
            key = entry.tenant, entry.ring_id
            mine = self.entries.setdefault(key, [])
            assert entry.number == len(mine) + 1
            assert not mine or mine[-1].at_us <= entry.at_us
            assert (entry.what == "born") == (entry.number == 1)
            assert not (entry.joined and entry.left)
            mine.append(entry)
            self.rings.setdefault(key, RingThen()).take(entry)

    def members(self) -> dict[tuple[str, str], frozenset[str]]:
        assert all(ring.complete for ring in self.rings.values())
        assert all(bool(ring.members) == (ring.status != "ended") for ring in self.rings.values())
        return {key: frozenset(ring.members) for key, ring in self.rings.items() if ring.members}


def members(keeper: RingKeeper) -> dict[tuple[str, str], frozenset[str]]:
    links = keeper.links
    return {
        (links.tenant_list[ring.tenant].name, ring.ring_id): frozenset(links.user_name[u] for u in ring.members)
        for ring in keeper.registry.rings.values()
    }


def groups(keeper: RingKeeper) -> Groups:
    return {ring.ring_id: (ring.born_us, ring.members) for ring in keeper.registry.rings.values()}


def check_ids(before: Groups, after: Groups, used: set[str]) -> None:
    """An id stays with the part that has most members in common, ties by older birth, then smaller id."""
    ring_of = {u: ring_id for ring_id, (_, users) in before.items() for u in users}
    common = Counter((ring_of[u], users) for _, users in after.values() for u in users if u in ring_of)
    kept: dict[tuple[int, ...], str] = {}
    for ring_id, users in sorted(common, key=lambda x: (-common[x], before[x[0]][0], x[0], x[1])):
        if users not in kept and ring_id not in kept.values():
            kept[users] = ring_id
    for ring_id, (_, users) in after.items():
        if users in kept:
            assert kept[users] == ring_id
        else:
            assert ring_id not in used
    used.update(after)


def last_used_us(keeper: RingKeeper, ring: RingState) -> int:
    shared = shared_things(keeper.links, ring.members)
    return max(keeper.links.link_last[x] for on in shared.values() for x in on)


def moves(seed: int, n: int) -> list[Applied]:
    """Accounts that come, share, move on and are not seen again, so that rings merge, split and end all the time. One link an
    event: identity is decided link by link."""
    rng, at_us, items = random.Random(seed), START_US, []
    for i in range(n):
        at_us += rng.randrange(10 * 60_000_000)
        user = rng.randrange(300) if rng.random() < 0.7 else i // 50 * 10 + rng.randrange(10)
        shape = rng.random()
        if shape < 0.7:
            thing = {"device": f"d{user // 3 if rng.random() < 0.7 else rng.randrange(700)}"}
        elif shape < 0.93:
            thing = {"card": f"c{user // 2 if rng.random() < 0.6 else rng.randrange(700)}"}
        else:
            thing = {"address": f"a{rng.randrange(4) if rng.random() < 0.3 else user // 7}"}
        entities = {"user": f"u{user}", **thing}
        late_us = rng.choice([0] * 19 + [5 * HOUR_US])
        items.append(Event(f"e{i}", "login", at_us - late_us, entities))
        if rng.random() < 0.02:
            items.append(ResolvedLabel(Label("event", f"e{i}", rng.choice(["fraud", "good"]), at_us), entities))
    return items


@pytest.mark.slow
def test_10_000_random_changes_hold_identity_and_replay_to_the_same_rings() -> None:
    rules = RingRules(
        mark_us=HOUR_US,
        window_us=DAY_US,
        dormant_us=6 * HOUR_US,
        hub_cap=8,
        community_above=1000,
        visits_per_mark=10**9,
    )
    keeper, plain, replayed = RingKeeper(SCHEMA, rules), Plain(rules), Replayed()
    keeper.keep_history()
    features = np.empty((1, SCHEMA.size), np.float32)
    earlier: list[tuple[int, dict[tuple[str, str], frozenset[str]]]] = []
    used: set[str] = set()
    before = groups(keeper)

    def compare() -> None:
        nonlocal before
        entries = keeper.take_history()
        if entries:
            after = groups(keeper)
            check_ids(before, after, used)
            before = after
        replayed.take(entries)

    for seq, item in enumerate(moves(1, 10_000)):
        if isinstance(item, Event):
            if keeper.next_mark_us is not None and item.at_us >= keeper.next_mark_us:
                earlier.append((keeper.next_mark_us - 1, members(keeper)))
                keeper.advance(item.at_us)
                plain.advance(item.at_us)
                compare()
                assert not keeper.stats()["queued"]
                assert {(tenant, users) for (tenant, _), users in members(keeper).items()} == expected(keeper, plain)
                assert replayed.members() == members(keeper)
                for ring in keeper.registry.rings.values():
                    if ring.quiet_us is not None:
                        assert last_used_us(keeper, ring) <= ring.quiet_us <= keeper.settled_us - rules.dormant_us
            plain.event(item)
        keeper.apply([(seq, item)], features)
        compare()
    told = Counter(entry.what for entries in replayed.entries.values() for entry in entries)
    assert all(told[what] >= 20 for what in WHATS), told
    assert len(earlier) > 500
    for at_us, rings in earlier[::25]:
        found = {key: as_of(entries, at_us).members for key, entries in replayed.entries.items()}
        assert {key: frozenset(users) for key, users in found.items() if users} == rings
        assert all(joined_us <= at_us for users in found.values() for joined_us in users.values())


RULES = RingRules(mark_us=HOUR_US, window_us=4 * DAY_US, dormant_us=DAY_US, community_above=6, hub_cap=9)


@pytest.fixture(scope="module")
def items() -> list[Applied]:
    return [*stream(3, 1200, users=60), *stream(4, 1200, users=60)]


@pytest.fixture(scope="module")
def whole(items: list[Applied]) -> list[RingEntry]:
    found = told(RULES, items)
    assert {entry.what for entry in found} == set(WHATS)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("cut", [7, 5000])
def test_the_entries_do_not_depend_on_how_items_are_cut(cut: int, items: list[Applied], whole: list[RingEntry]) -> None:
    assert told(RULES, items, cut) == whole


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 1, 901, 1777])
def test_a_restored_keeper_tells_what_is_left_to_tell(at: int, items: list[Applied], whole: list[RingEntry]) -> None:
    keeper, other = RingKeeper(SCHEMA, RULES), RingKeeper(SCHEMA, RULES)
    keeper.keep_history()
    other.keep_history()
    run(keeper, items[: at // 2])
    taken = keeper.take_history()
    run(keeper, items[at // 2 : at], start=at // 2)
    run(other, items[:99])
    other.load(keeper.dump())
    run(other, items[at:], 100, start=at)
    assert taken + other.take_history() == whole


def test_nothing_is_kept_where_nobody_takes(items: list[Applied]) -> None:
    keeper, other = RingKeeper(SCHEMA, RULES), RingKeeper(SCHEMA, RULES)
    other.keep_history()
    run(keeper, items[:500])
    run(other, items[:500])
    assert keeper.take_history() == []
    assert len(other.take_history()) > 20
    assert keeper.digest() == other.digest()


def test_every_change_names_the_event_behind_it() -> None:
    first = [event(0, "a", device="d"), event(1, "b", device="d"), event(2, "c", device="d")]
    second = [event(3, "x", device="e"), event(4, "y", device="e"), event(5, "x", device="d")]
    one, two = told(RULES, [*first, *second])[0].ring_id, told(RULES, [*first, *second])[2].ring_id
    found = [(e.ring_id, e.what, e.event_id, e.joined, e.left, e.rings) for e in told(RULES, [*first, *second])]
    assert found == [
        (one, "born", "e1", ("a", "b"), (), ()),
        (one, "grew", "e2", ("c",), (), ()),
        (two, "born", "e4", ("x", "y"), (), ()),
        (two, "ended", "e5", (), ("x", "y"), (one,)),
        (one, "merged", "e5", ("x", "y"), (), (two,)),
    ]


def test_a_ring_that_falls_apart_is_compared_with_all_parts_at_once() -> None:
    """Three devices of 2, 3 and 4 accounts held together by an address that becomes a hub: the id stays with the four."""
    users = ["a1", "a2", "b1", "b2", "b3", "c1", "c2", "c3", "c4"]
    items: list[Applied] = [event(i, u, device=u[0], address="home") for i, u in enumerate(users)]
    items.append(event(9, "z", address="home"))
    found = told(RingRules(mark_us=HOUR_US, hub_cap=9), [*items, event(10, "z", START_US + HOUR_US, device="z")])
    end = [e for e in found if e.at_us >= START_US + HOUR_US - START_US % HOUR_US]
    assert [(e.what, len(e.joined), len(e.left), e.users, e.event_id) for e in end[:1]] == [("split", 0, 5, 4, "e9")]
    assert sorted((e.what, e.users) for e in end[1:]) == [("born", 2), ("born", 3)]
    assert set(end[0].rings) == {e.ring_id for e in end[1:]}
    assert all(e.rings == (end[0].ring_id,) for e in end[1:])


def test_a_ring_sleeps_wakes_and_ends() -> None:
    rules = RingRules(mark_us=HOUR_US, window_us=10 * DAY_US, dormant_us=2 * DAY_US)
    pair = [event(0, "a", device="d", card="own"), event(1, "b", device="d")]
    alone = [event(2, "a", START_US + 3 * DAY_US, card="own"), event(3, "z", START_US + 4 * DAY_US, card="z")]
    again = [event(4, "b", START_US + 5 * DAY_US, device="d"), event(5, "z", START_US + 40 * DAY_US, card="z")]
    found = told(rules, [*pair, *alone, *again])
    assert [(e.what, e.event_id) for e in found] == [
        ("born", "e1"), ("dormant", ""), ("revived", "e4"), ("ended", ""),
    ]  # fmt: skip
    assert found[-1].left == ("a", "b")
    hour = START_US % HOUR_US
    assert found[1].at_us == START_US + 3 * DAY_US - hour
    assert found[2].at_us == START_US + 5 * DAY_US
    assert as_of(found, START_US + 4 * DAY_US).status == "dormant"


def label(target: str, kind: str = "event", verdict: str = "fraud", **entities: str) -> ResolvedLabel:
    return ResolvedLabel(Label(kind, target, verdict, START_US + 1), entities)  # type: ignore[arg-type]


def test_a_ring_is_busted_once_by_a_member() -> None:
    pair: list[Applied] = [event(0, "a", device="d"), event(1, "b", device="d")]
    labels: list[Applied] = [label("e0", user="a", device="d"), label("e1", user="b", device="d")]
    found = told(RULES, [*pair, *labels])
    assert [(e.what, e.event_id, e.at_us) for e in found[1:]] == [("busted", "e0", START_US + 1)]
    known = told(RULES, [pair[0], labels[0], pair[1]])
    assert [(e.what, e.event_id) for e in known] == [("born", "e1"), ("busted", "e1")]
    good = told(RULES, [*pair, label("e0", verdict="good", user="a"), labels[0]])
    assert [e.what for e in good] == ["born"]


def test_a_ring_is_busted_by_what_it_shares() -> None:
    pair: list[Applied] = [event(0, "a", device="d", card="c"), event(1, "b", device="d")]
    assert [e.what for e in told(RULES, [*pair, label("d", "device", device="d")])] == ["born", "busted"]
    assert [e.what for e in told(RULES, [*pair, label("c", "card", card="c")])] == ["born"]


def test_a_gap_in_the_entries_is_seen() -> None:
    entries = told(RULES, [event(i, u, START_US + i, device="d") for i, u in enumerate("abcd")])
    assert as_of(entries).complete
    assert list(as_of(entries).members.items()) == [(u, START_US + max(i, 1)) for i, u in enumerate("abcd")]
    assert as_of(entries, START_US).status == "unborn"
    assert not as_of([entries[0], entries[2]]).complete
    assert not as_of(entries[1:]).complete
    again = RingThen()
    for entry in [*entries, *entries]:
        again.take(entry)
    assert again == as_of(entries)


def test_entries_read_as_sentences() -> None:
    def said(what: str, **more: object) -> str:
        return sentence(RingEntry("t", "r", 1, 0, what, "e", **{"users": 5, **more}))  # type: ignore[arg-type]

    assert said("born", joined=("a", "b")) == "Born with a and b"
    assert said("grew", joined=("c",), users=1) == "c joined; 1 account in it then"
    assert said("merged", joined=tuple("abcd"), rings=("x",)) == (
        "Merged: 4 accounts (a, b, c, ...) joined from ring x; 5 accounts in it then"
    )
    assert said("split", left=("a", "b"), rings=("x", "y")) == (
        "Split: a and b left, together in rings x and y; 5 accounts in it then"
    )
    assert said("shrank", left=("a",)) == "a left; 5 accounts in it then"
    assert said("ended", left=("a",)) == "Ended: its members share nothing any more"
    assert said("ended", left=("a",), rings=("x",)) == "Ended; its members went to ring x"


def test_who_publishes_rings_tells_their_history_with_them() -> None:
    keeper = RingKeeper(SCHEMA, RULES)
    published = Published(keeper)
    run(keeper, [event(i, u, START_US + i, device="d") for i, u in enumerate("abc")])
    (change,) = published.changes(())
    assert [e.what for e in change.history] == ["born", "grew"]
    assert published.changes(()) == []
    run(keeper, [label("e0", user="a", device="d")])
    (change,) = published.changes(())
    assert [e.what for e in change.history] == ["busted"]
    late = START_US + 10 * DAY_US
    run(keeper, [event(8, "x", late, device="e"), event(9, "y", late, device="e")], start=8)
    keeper.advance(late + 9 * DAY_US)
    ended = {c.ring_id: c for c in published.changes(())}
    assert all(c.ring is None and c.history[-1].what == "ended" for c in ended.values())
    assert len(ended) == 2
    assert published.changes(()) == []
