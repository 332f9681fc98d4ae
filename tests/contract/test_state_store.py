"""What every state store promises, on the in-process store and on Redis; then what the in-process one promises besides."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from support.shared import fresh_state
from support.streams import START_US, payment, stream

from features.columns import ResolvedLabel, entity_key
from features.index import find, new_table, obtain
from features.memory_state import MemoryState
from features.redis_state import RedisState
from features.schema import FeatureSchema
from ringwatch.errors import BadInput, Corrupt
from ringwatch.model import BUILTIN_KINDS, DAY_US, HOUR_US, Event, Kind, Label, Strength

SCHEMA = FeatureSchema()
Make = Callable[..., MemoryState | RedisState]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.backends)])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes empty stores of one sort."""
    with ExitStack() as stack:
        if request.param == "memory":
            yield lambda schema=SCHEMA: MemoryState(schema, max_entities=5000)
        else:
            server = request.getfixturevalue("redis_server")
            yield lambda schema=SCHEMA: stack.enter_context(
                fresh_state(server.url, password=server.password, schema=schema)
            )


def new_state(**more: int) -> MemoryState:
    return MemoryState(SCHEMA, **{"max_entities": 5000, **more})


def bits(features: np.ndarray) -> np.ndarray:
    return features.view(np.uint32)


@pytest.mark.parametrize("cut", [1, 7, 1000, None])
def test_results_do_not_depend_on_batch_size(make: Make, cut: int | None) -> None:
    items = stream(3, 1500)
    whole, cut_up = make(), make()
    expected = whole.apply(items)
    rng, parts, i = random.Random(1), [], 0
    while i < len(items):
        n = cut or rng.choice([1, 2, 50, 400])
        parts.append(cut_up.apply(items[i : i + n]))
        i += n
    assert np.array_equal(bits(np.concatenate(parts)), bits(expected))
    if isinstance(whole, MemoryState) and isinstance(cut_up, MemoryState):
        assert cut_up.digest() == whole.digest()


def test_looking_changes_nothing_and_sees_what_a_commit_would(make: Make) -> None:
    items = stream(5, 800)
    state = make()
    state.apply(items[:700])
    before = state.digest() if isinstance(state, MemoryState) else ""
    seen = state.apply(items[700:], commit=False)
    assert np.array_equal(bits(seen), bits(state.apply(items[700:], commit=False)))
    assert not isinstance(state, MemoryState) or state.digest() == before
    assert np.array_equal(bits(seen), bits(state.apply(items[700:])))


def test_restored_state_continues_as_if_never_stopped(tmp_path: Path) -> None:
    items = stream(7, 900)
    state, other = new_state(), new_state()
    state.apply(items[:500])
    state.snapshot(tmp_path / "s.bin", position=41)
    assert other.restore(tmp_path / "s.bin") == 41
    assert other.digest() == state.digest()
    assert np.array_equal(bits(other.apply(items[500:])), bits(state.apply(items[500:])))
    assert other.digest() == state.digest()


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "words"])
def test_a_damaged_snapshot_is_refused(tmp_path: Path, damage: str) -> None:
    state = new_state()
    state.apply(stream(1, 200))
    path = tmp_path / "s.bin"
    state.snapshot(path, position=1)
    raw = bytearray(path.read_bytes())
    if damage == "cut":
        raw = raw[: len(raw) // 2]
    elif damage == "flip":
        raw[len(raw) // 2] ^= 1
    elif damage == "empty":
        raw = bytearray()
    else:
        raw = bytearray(b"not a snapshot\n")
    path.write_bytes(raw)
    before = state.digest()
    with pytest.raises(Corrupt):
        state.restore(path)
    assert state.digest() == before


def test_a_snapshot_of_another_schema_is_refused(tmp_path: Path) -> None:
    state = new_state()
    state.snapshot(tmp_path / "s.bin", position=0)
    other = MemoryState(FeatureSchema((*BUILTIN_KINDS, Kind("terminal", Strength.WEAK, True))), max_entities=5000)
    with pytest.raises(Corrupt, match="feature schema"):
        other.restore(tmp_path / "s.bin")


def test_too_small_a_store_is_refused() -> None:
    with pytest.raises(BadInput):
        MemoryState(SCHEMA, max_entities=10)


def test_the_least_recently_used_leave_first() -> None:
    rng, table, model = random.Random(4), new_table(300), OrderedDict()
    for _ in range(5000):
        key = rng.getrandbits(64) | 1 if rng.random() < 0.5 or not model else rng.choice(list(model))
        obtain(table, np.uint64(key), 1)
        model[key] = None
        model.move_to_end(key)
        if len(model) > 300:
            model.popitem(last=False)
    assert all(find(table, np.uint64(key)) >= 0 for key in model)
    assert table.meta[2] == 300


def test_an_evicted_entity_comes_back_as_new() -> None:
    state = new_state(max_entities=1000)
    state.apply([payment(0, START_US)])
    state.apply([payment(i, START_US + i, entities={"user": f"x{i}"}) for i in range(1, 1500)])
    back = state.apply([payment(2000, START_US + 5000)])
    assert back[0, SCHEMA.column("user.count_all")] == 1
    assert state.stats()["evicted"] > 0
    assert state.stats()["entities"] == 1000


def test_the_tenth_user_on_a_device_is_seen_as_the_tenth(make: Make) -> None:
    events = [payment(i, START_US + i * 1_000_000, entities={"user": f"u{i}", "device": "d"}) for i in range(10)]
    features = make().apply(events)
    assert features[:, SCHEMA.column("device.neighbours_24h")].tolist() == list(range(1, 11))
    assert features[:, SCHEMA.column("device.link_new")].tolist() == [1.0] * 10


def test_distinct_users_beyond_the_kept_links_are_estimated(make: Make) -> None:
    errors = []
    for n in (50, 200, 1000):
        events = [payment(i, START_US + i, entities={"user": f"{n}-u{i}", "device": "d"}) for i in range(n)]
        last = make().apply(events)[-1, SCHEMA.column("device.neighbours_all")]
        errors.append(abs(last - n) / n)
    assert max(errors) < 0.45
    assert np.mean(errors) < 0.3


def test_known_fraud_travels_to_neighbours_old_and_new(make: Make) -> None:
    state = make()
    at = START_US
    first = Event("a", "payment", at, {"user": "bad", "device": "d"})
    friend = Event("b", "payment", at + 1, {"user": "friend", "device": "d"})
    label = ResolvedLabel(Label("event", "a", "fraud", at + 2), first.entities)
    later = Event("c", "payment", at + 3, {"user": "friend", "device": "d"})
    newcomer = Event("e", "payment", at + 4, {"user": "new", "device": "d"})
    features = state.apply([first, friend, label, later, newcomer])
    fraud = features[:, SCHEMA.column("device.fraud_neighbours")]
    assert fraud.tolist() == [0, 0, 1, 1]
    assert features[2, SCHEMA.column("user.fraud_neighbours")] == 1
    assert features[3, SCHEMA.column("device.fraud_labels")] == 1
    assert features[3, SCHEMA.column("user.fraud_neighbours")] == 1


def test_late_events_count_where_they_belong_and_never_move_last_seen_back(make: Make) -> None:
    state = make()
    now = START_US
    on_time = payment(1, now, amount_minor=100)
    late = payment(2, now - 2 * HOUR_US, amount_minor=100)
    ancient = payment(3, now - 40 * DAY_US, amount_minor=100)
    after = payment(4, now + 1_000_000, amount_minor=100)
    features = state.apply([on_time, late, ancient, after])
    assert features[3, SCHEMA.column("user.count_24h")] == pytest.approx(3, abs=0.01)
    assert features[3, SCHEMA.column("user.count_all")] == 4
    assert features[3, SCHEMA.column("user.gap_s")] == pytest.approx(1.0)
    assert features[1, SCHEMA.column("user.count_1h")] == 1


def test_tenants_do_not_meet(make: Make) -> None:
    events = [payment(i, START_US + i, tenant=t) for i, t in enumerate(["a", "b", "a"])]
    features = make().apply(events)
    assert features[:, SCHEMA.column("user.count_all")].tolist() == [1, 1, 2]
    assert entity_key("a", "user", "bc") != entity_key("ab", "user", "c")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_windows_against_an_exact_count(make: Make, seed: int) -> None:
    """Short windows are exact while the last ten events cover them; long ones are within the oldest bucket."""
    rng = random.Random(seed)
    at_us, times, events = START_US, [], []
    for i in range(400):
        at_us += rng.choice([1000, 60_000_000, 600_000_000, rng.randrange(1, 8 * HOUR_US)])
        times.append(at_us)
        events.append(payment(i, at_us, amount_minor=100))
    features = make().apply(events)
    for name, window, buckets in (("24h", DAY_US, 12), ("7d", 7 * DAY_US, 14), ("30d", 30 * DAY_US, 10)):
        for i, t in enumerate(times):
            exact = sum(1 for s in times[: i + 1] if t - window < s <= t)
            size = window // buckets
            oldest = sum(1 for s in times[: i + 1] if s // size == (t - window) // size)
            got = features[i, SCHEMA.column(f"user.count_{window and name}")]
            assert abs(got - exact) <= oldest + 1e-3
    for name, window in (("1m", 60_000_000), ("10m", 600_000_000), ("1h", HOUR_US)):
        for i, t in enumerate(times):
            exact = sum(1 for s in times[: i + 1] if t - window < s <= t)
            got = features[i, SCHEMA.column(f"user.count_{name}")]
            assert got == exact if exact < 10 else got >= 10


def test_amounts_far_and_missing_do_not_break_features(make: Make) -> None:
    amounts = [None, 0, 1, 2**53, None, 100]
    events = [payment(i, START_US + i * DAY_US, amount_minor=a) for i, a in enumerate(amounts)]
    features = make().apply(events)
    assert np.isnan(features[4, SCHEMA.column("user.amount_z")])
    assert np.isfinite(features[5, SCHEMA.column("user.amount_z")])
    assert not np.isinf(features[~np.isnan(features)]).any()


def test_declared_kinds_get_a_block_of_their_own(make: Make) -> None:
    kinds = (*BUILTIN_KINDS, Kind("terminal", Strength.WEAK, True))
    schema = FeatureSchema(kinds)
    state = make(schema)
    features = state.apply([payment(i, START_US + i, entities={"user": f"u{i}", "terminal": "t"}) for i in range(3)])
    assert features[2, schema.column("terminal.neighbours_24h")] == 3
    assert schema.hash != SCHEMA.hash
    assert len(set(schema.names)) == schema.size
