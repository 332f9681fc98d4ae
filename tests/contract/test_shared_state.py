"""What the shared state promises, on Redis: ids, one atomic step, conflicts, and the numbers of the embedded store."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from support.backends import Backend
from support.shared import (
    SCHEMA,
    TENANT,
    entries,
    fresh_state,
    is_label,
    other,
    packed_results,
    record,
    same_records,
    write,
)
from support.streams import START_US, payment, stream

from features.columns import Applied, ResolvedLabel
from features.memory_state import MemoryState
from features.redis_state import RedisState
from features.schema import FeatureSchema
from features.seen import pack
from features.shared_state import CONFLICT, NEW, SAME, Entry
from ringwatch.errors import BadInput, Corrupt, Unavailable
from ringwatch.model import BUILTIN_KINDS, HOUR_US, Event, Kind, Label, Strength

pytestmark = pytest.mark.backends


@pytest.fixture
def state(redis_server: Backend) -> Iterator[RedisState]:
    with fresh_state(redis_server.url, password=redis_server.password) as state:
        yield state


def bits(features: np.ndarray) -> np.ndarray:
    return features.view(np.uint32)


def redemptions(seed: int, n: int) -> list[Applied]:
    """Sign-ups that redeem a promotion within the day, on shared devices; labels of what they did."""
    rng = random.Random(seed)
    items: list[Applied] = []
    for i in range(n):
        at_us = START_US + i * HOUR_US // 3
        things = {"user": f"n{i // 3}", "device": f"d{i // 9}", "card": f"c{rng.randrange(n)}", "ip": f"i{i // 20}"}
        kind = ("signup", "payment", "promo_redeem")[i % 3]
        event = Event(f"p{i}", kind, at_us, {**things, "promo": "welcome"} if i % 3 == 2 else things)
        items.append(event)
        if rng.random() < 0.2:
            items.append(ResolvedLabel(Label("event", event.event_id, "fraud", at_us), event.entities))
    return items


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_numbers_are_those_of_the_embedded_store(state: RedisState, cut: int) -> None:
    items = stream(3, 700) + redemptions(4, 300)
    memory = MemoryState(SCHEMA, max_entities=5000)
    expected = memory.apply(items)
    got = [write(state, items[i : i + cut], i) for i in range(0, len(items), cut)]
    assert np.array_equal(bits(np.concatenate(got)), bits(expected))
    assert same_records(state, memory)


@pytest.mark.parametrize("cut", [7, 1000])
def test_links_that_events_saw_are_those_of_the_embedded_store(state: RedisState, cut: int) -> None:
    items = stream(3, 700) + redemptions(4, 300)
    _, seen = MemoryState(SCHEMA, max_entities=5000).apply_seen(items)
    found = []
    for start in range(0, len(items), cut):
        pending = state.begin(TENANT, entries(items[start : start + cut], start=start))
        found += [pack(pending.seen, row) for row in range(len(pending.rows))]
        assert pending.commit(packed_results(pending))
    assert found == [pack(seen, row) for row in range(len(seen.ends))]


def test_nothing_is_written_before_the_commit(state: RedisState) -> None:
    items = stream(5, 200)
    write(state, items[:150])
    before = contents(state)
    pending = state.begin(TENANT, entries(items[150:], start=150))
    assert contents(state) == before
    assert np.array_equal(bits(state.apply(items[150:], commit=False)), bits(pending.features))
    again = state.begin(TENANT, entries(items[150:], start=150))
    assert np.array_equal(bits(again.features), bits(pending.features))
    assert {f.status for f in again.found} == {NEW}


def test_a_commit_counts_once(state: RedisState) -> None:
    pending = state.begin(TENANT, entries([payment(1, START_US)]))
    assert pending.commit([b"r"])
    assert not pending.commit([b"r"])
    found = record(state, "user", "u")
    assert found is not None
    assert found["count"] == 1


def test_an_id_seen_before_gives_what_was_stored_then(state: RedisState) -> None:
    items = [payment(1, START_US), payment(2, START_US + 1)]
    write(state, items)
    again = state.begin(TENANT, entries([*items, payment(3, START_US + 2)], b"elsewhere"))
    assert again.found == [(SAME, b"here/0", b"r0"), (SAME, b"here/1", b"r1"), (NEW, b"elsewhere/2", None)]
    assert again.rows == [2]
    assert again.features.shape == (1, SCHEMA.size)
    assert again.features[0, SCHEMA.column("user.count_all")] == 3
    assert again.commit([b"r2"])


def test_the_same_id_with_another_body_is_a_conflict(state: RedisState) -> None:
    write(state, [payment(1, START_US)])
    pending = state.begin(TENANT, entries([payment(1, START_US, amount_minor=5)], b"x"))
    assert pending.found == [(CONFLICT, b"here/0", None)]
    assert pending.rows == []
    assert pending.commit([])
    found = record(state, "user", "u")
    assert found is not None
    assert found["count"] == 1


def test_an_id_twice_in_one_batch_is_applied_once(state: RedisState) -> None:
    one, changed = payment(1, START_US), payment(1, START_US, amount_minor=5)
    pending = state.begin(TENANT, entries([one, one, changed, payment(2, START_US)]))
    assert [f.status for f in pending.found] == [NEW, SAME, CONFLICT, NEW]
    assert pending.found[1] == (SAME, b"here/0", None)
    assert pending.found[2].origin == b"here/0"
    assert pending.rows == [0, 3]
    assert pending.features[1, SCHEMA.column("user.count_all")] == 2
    assert pending.commit([b"a", b"b"])


def test_labels_have_ids_and_no_results(state: RedisState) -> None:
    event = payment(1, START_US)
    items = [event, ResolvedLabel(Label("event", "e1", "fraud", START_US + 5), event.entities)]
    write(state, items)
    again = state.begin(TENANT, entries(items))
    assert [(f.status, f.result) for f in again.found] == [(SAME, b"r0"), (SAME, None)]
    assert [u.id for u in state.unsettled(TENANT)] == ["e1"]
    found = record(state, "user", "u")
    assert found is not None
    assert found["fraud_labels"] == 1


def test_a_label_of_what_was_never_seen_changes_nothing(state: RedisState) -> None:
    label = ResolvedLabel(Label("user", "nobody", "fraud", START_US), {"user": "nobody"})
    pending = state.begin(TENANT, entries([label]))
    write(state, [payment(1, START_US, entities={"user": "nobody"})])
    assert not pending.commit([])
    assert state.begin(TENANT, entries([label])).commit([])


def test_one_process_sweeps_at_a_time(state: RedisState) -> None:
    with closing(other(state)) as second:
        assert state.claim_sweep("a")
        assert not second.claim_sweep("a")
        second.end_sweep()
        assert not second.claim_sweep("b")
        state.end_sweep()
        assert second.claim_sweep("b")
        second.end_sweep()


def test_results_wait_until_they_are_settled(state: RedisState) -> None:
    events = [payment(i, START_US + i) for i in range(3)]
    for i, event in enumerate(events):
        write(state, [event], i)
    assert [(u.id, u.origin, u.result) for u in state.unsettled(TENANT)] == [
        (f"e{i}", b"here/%d" % i, b"r0") for i in range(3)
    ]
    assert state.waiting(TENANT, ["e2", "never", "e0"]) == {"e0", "e2"}
    state.settle(TENANT, ["e0", "e2", "unknown"])
    assert [u.id for u in state.unsettled(TENANT)] == ["e1"]
    assert state.waiting(TENANT, ["e0", "e1"]) == {"e1"}
    assert state.waiting(TENANT, []) == set()
    keys = state.keys(TENANT)
    hashes = [name[-16:] for name in all_keys(state, keys.result)]
    assert lives(state, keys.results(hashes)) == pytest.approx([900, 900, 7 * 86_400], abs=60)
    assert lives(state, keys.markers(hashes)) == pytest.approx([86_400, 86_400, 7 * 86_400], abs=60)


def test_results_whose_time_ran_out_leave_the_outbox(state: RedisState) -> None:
    write(state, [payment(i, START_US + i) for i in range(2)])
    keys = state.keys(TENANT)
    state.wire.ask("DEL", *all_keys(state, keys.result)[:1])
    assert len(state.unsettled(TENANT)) == 1
    assert state.wire.ask("HLEN", keys.outbox) == 1


def lives(state: RedisState, names: list[bytes]) -> list[int]:
    return sorted(state.wire.ask("TTL", name) for name in names)


def contents(state: RedisState) -> dict[bytes, bytes | None]:
    names = sorted(all_keys(state, b"%s:{" % state.globals.prefix.encode()))
    return dict(zip(names, state.wire.ask("MGET", *names), strict=True))


def all_keys(state: RedisState, start: bytes) -> list[bytes]:
    return [name for name in state.wire.ask("KEYS", f"{state.globals.prefix}:*") if name.startswith(start)]


def test_who_comes_second_begins_again(state: RedisState) -> None:
    second = other(state)
    a = state.begin(TENANT, entries([payment(1, START_US)]))
    b = second.begin(TENANT, entries([payment(2, START_US + 1)]))
    assert a.commit([b"a"])
    assert not b.commit([b"b"])
    b = second.begin(TENANT, entries([payment(2, START_US + 1)]))
    assert b.features[0, SCHEMA.column("user.count_all")] == 2
    assert b.commit([b"b"])
    assert second.stats()["conflicts"] == 1


def test_one_id_brought_by_two_at_once_is_applied_once(state: RedisState) -> None:
    second = other(state)
    one = payment(1, START_US, entities={"merchant": "m"})
    a, b = state.begin(TENANT, entries([one], b"a")), second.begin(TENANT, entries([one], b"b"))
    assert b.commit([b"b"])
    assert not a.commit([b"a"])
    assert state.begin(TENANT, entries([one], b"a")).found == [(SAME, b"b/0", b"b")]
    found = record(state, "merchant", "m")
    assert found is not None
    assert found["count"] == 1


def test_crowded_entities_do_not_make_others_wait(state: RedisState) -> None:
    def at_shop(n: int) -> Event:
        entities = {"user": f"u{n}", "merchant": "m", "ip": "i"}
        return payment(n, START_US + n, entities=entities, amount_minor=100 * n, outcome="declined")

    write(state, [at_shop(1)])
    second = other(state)
    a, b = state.begin(TENANT, entries([at_shop(2)])), second.begin(TENANT, entries([at_shop(3), at_shop(4)]))
    assert a.commit([b"a"])
    assert b.commit([b"b", b"c"])
    assert second.stats()["merges"] == 1
    found, alone = record(state, "merchant", "m"), MemoryState(SCHEMA, max_entities=1000)
    alone.apply([at_shop(n) for n in range(1, 5)])
    expected = alone.contents()[0]
    expected = expected[expected["kind"] == SCHEMA.kind_index["merchant"]][0]
    assert found is not None
    for name in (
        "count",
        "first_us",
        "last_us",
        "fail_n",
        "amount_n",
        "bucket_count",
        "bucket_amount",
        "links",
        "recent_us",
    ):
        assert np.array_equal(found[name], expected[name]), name


@pytest.mark.parametrize("size", [1, 20])
def test_many_at_once_lose_and_double_nothing(state: RedisState, size: int) -> None:
    """Four writers share devices, cards, ips and merchants; one event in ten is brought by two of them."""
    rng, writers, each = random.Random(size), 4, 150
    common = [crowd_event(f"x{i}", rng, i) for i in range(each // 10)]
    parts = [[crowd_event(f"{w}-{i}", rng, i) for i in range(each)] + common for w in range(writers)]

    def scorer(part: list[Event]) -> None:
        with closing(other(state)) as mine:
            for i in range(0, len(part), size):
                write(mine, part[i : i + size], i)

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(scorer, parts, timeout=300))
    applied = {event.event_id: event for part in parts for event in part}
    assert len(state.unsettled(TENANT)) == len(applied)
    check_totals(state, list(applied.values()))


def crowd_event(event_id: str, rng: random.Random, i: int) -> Event:
    sizes = {"user": 60, "device": 25, "card": 40, "ip": 4, "merchant": 2, "sku": 1}
    entities = {kind: f"{kind}{rng.randrange(n)}" for kind, n in sizes.items()}
    at_us = START_US + i * 60_000_000 + rng.randrange(1000)
    outcome = rng.choice(["approved", "declined", None])
    return Event(event_id, "payment", at_us, entities, amount_minor=rng.randrange(5000), outcome=outcome)


def check_totals(state: RedisState, events: list[Event]) -> None:
    """Of every entity: counts, sums, first and last are those of its events."""
    of: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        for entity in event.entities.items():
            of.setdefault(entity, []).append(event)
    for (kind, entity_id), mine in of.items():
        found = record(state, kind, entity_id)
        assert found is not None
        outcomes = [e.outcome for e in mine if e.outcome]
        times = [e.at_us for e in mine]
        got = [int(found[name]) for name in ("count", "amount_n", "outcome_n", "fail_n", "first_us", "last_us")]
        assert got == [len(mine), len(mine), len(outcomes), outcomes.count("declined"), min(times), max(times)]
        assert found["bucket_count"].sum() == 3 * len(mine)
        assert found["bucket_amount"].astype(float).sum() == 3 * sum(e.amount_minor or 0 for e in mine)


def test_second_records_come_with_the_batch(state: RedisState) -> None:
    state.write_rings(TENANT, {"u": b"ring", "v": b"other"})
    events = [payment(1, START_US), payment(2, START_US, entities={"device": "d"}), payment(3, START_US)]
    assert state.begin(TENANT, entries(events)).rings == [b"ring", None, b"ring"]
    state.write_rings(TENANT, {"u": b""})
    assert state.read_rings(TENANT, ["v", "u", "w"]) == [b"other", None, None]


def test_tenants_do_not_meet(state: RedisState) -> None:
    one = payment(1, START_US)
    assert state.begin("a", entries([one])).commit([b"r"])
    pending = state.begin("b", entries([one]))
    assert pending.found[0].status == NEW
    assert pending.features[0, SCHEMA.column("user.count_all")] == 1
    assert state.unsettled("b") == []


def test_a_state_of_other_kinds_is_refused(state: RedisState) -> None:
    schema = FeatureSchema((*BUILTIN_KINDS, Kind("terminal", Strength.WEAK, True)))
    with pytest.raises(Corrupt, match="format"):
        other(state, schema=schema).begin(TENANT, entries([payment(1, START_US)]))


def test_a_record_that_is_none_is_refused(state: RedisState) -> None:
    write(state, [payment(1, START_US)])
    for name in all_keys(state, state.keys(TENANT).record):
        if len(name) == len(state.keys(TENANT).record) + 8:
            state.wire.ask("SET", name, b"12345678")
    with pytest.raises(Corrupt, match="cannot be read"):
        state.begin(TENANT, entries([payment(2, START_US)]))


@pytest.mark.parametrize("tenant", ["", "a b", "a{b}", "x" * 129])
def test_tenants_that_would_break_keys_are_refused(state: RedisState, tenant: str) -> None:
    with pytest.raises(BadInput):
        state.begin(tenant, [])


def test_an_entry_with_half_a_body_is_refused(state: RedisState) -> None:
    with pytest.raises(BadInput, match="16"):
        state.begin(TENANT, [Entry(payment(1, START_US), "e1", b"short", b"")])


def test_scripts_touch_only_keys_of_one_hash_tag(state: RedisState) -> None:
    write(state, stream(2, 50))
    names = all_keys(state, b"")
    own = {state.globals.epoch, state.globals.rebuild, state.globals.tenants}
    tag = b"{%s}" % TENANT.encode()
    assert all(tag in name or name in own for name in names)
    assert any(is_label(item) for item in stream(2, 50))


def test_results_must_match_the_rows(state: RedisState) -> None:
    pending = state.begin(TENANT, entries([payment(1, START_US)]))
    with pytest.raises(ValueError, match="2 results"):
        pending.commit(packed_results(pending) * 2)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    state = RedisState("redis://:secret@127.0.0.1:1/0", SCHEMA)
    with pytest.raises(Unavailable) as error:
        state.begin(TENANT, [])
    assert "127.0.0.1:1" in str(error.value)
    assert "secret" not in str(error.value)
