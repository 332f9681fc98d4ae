"""Records of crowded kinds that several writers changed at once: merged, they hold what one writer would have written."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.columns import ResolvedLabel, entity_key
from features.memory_state import MemoryState
from features.merge import merged
from features.packed import pack, plan, unpack
from features.record import RECORD
from features.schema import FeatureSchema
from ringwatch.model import DAY_US, HOUR_US, Event, Label
from tests.support.streams import START_US, stream

SCHEMA = FeatureSchema()
KEY = entity_key("default", "merchant", "m")
EXACT = (
    *(
        "key",
        "kind",
        "first_us",
        "last_us",
        "count",
        "amount_n",
        "outcome_n",
        "fail_n",
        "bucket_count",
        "bucket_amount",
    ),
    *("type_last_s", "filter", "user_bits", "paid_n", "fraud_labels", "good_labels", "label_s", "fraud_s"),
)


def event(n: int, at_us: int, user: int, amount: int | None, outcome: str | None) -> Event:
    entities = {"user": f"u{user}", "merchant": "m"}
    return Event(f"{n}", "payment", at_us, entities, amount_minor=amount, outcome=outcome)  # type: ignore[arg-type]


def record(items: list[Event | ResolvedLabel]) -> np.ndarray:
    state = MemoryState(SCHEMA, max_entities=1000)
    state.apply(items)
    found = state.record(KEY)
    return np.zeros(1, RECORD) if found is None else found.reshape(1)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Field by field, to the bit."""
    return all(a[name].tobytes() == b[name].tobytes() for name in RECORD.names or ())


def by_time(items: list[Event]) -> list[Event]:
    return sorted(items, key=lambda e: (e.at_us, int(e.event_id)))


changes = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 23 * HOUR_US),
        st.integers(0, 12),
        st.none() | st.integers(0, 10_000),
        st.sampled_from([None, "approved", "declined"]),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(changes)
def test_nothing_that_several_wrote_at_once_is_lost(rows: list[tuple[int, int, int, int | None, str | None]]) -> None:
    """Writer 0 wrote before the others read; 1 to 3 each saw that, and not one another."""
    parts: list[list[Event]] = [[], [], [], []]
    for n, (writer, after_us, user, amount, outcome) in enumerate(rows):
        parts[writer].append(event(n, START_US + after_us, user, amount, outcome))
    before = by_time(parts[0])
    base = record(before)
    out = base
    for part in parts[1:]:
        if part:
            out = merged(base, record([*before, *by_time(part)]), out)
    alone = record([*before, *by_time(list(itertools.chain(*parts[1:])))])
    for name in EXACT:
        assert np.array_equal(out[name], alone[name]), name
    assert out["amount_mean"] == pytest.approx(alone["amount_mean"], rel=1e-3, abs=1e-3)
    assert out["amount_m2"] == pytest.approx(alone["amount_m2"], rel=2e-2, abs=2e-2)
    assert links(out) == links(alone)
    assert last_events(out) == last_events(alone)


def links(record: np.ndarray) -> dict[int, tuple[int, ...]]:
    names = ("link_count", "link_first_s", "link_last_s", "link_kind", "link_flags")
    kept = range(int(record["links"][0]))
    return {int(record["link_key"][0, i]): tuple(int(record[name][0, i]) for name in names) for i in kept}


def last_events(record: np.ndarray) -> list[tuple[int, float, int]]:
    kept = range(int(record["recent"][0]))
    times = record["recent_us"][0]
    oldest = times[0] if len(kept) else 0
    rows = [(int(times[i]), float(record["recent_amount"][0, i]), int(record["recent_code"][0, i])) for i in kept]
    return sorted((t, -1.0 if a != a else a, c) for t, a, c in rows if t > oldest or len(kept) < 10)


def test_a_merge_with_nobody_changes_nothing() -> None:
    base = record([event(i, START_US + i, i, 100, None) for i in range(5)])
    mine = record([event(i, START_US + i * HOUR_US, i % 20, 100, "declined") for i in range(60)])
    empty = np.zeros(1, RECORD)
    assert same(merged(base, base, mine), mine)
    out = merged(empty, mine, empty)
    assert all(np.array_equal(out[name], mine[name]) for name in EXACT)


def test_buckets_that_time_passed_over_stay_empty() -> None:
    base = [event(0, START_US, 0, 100, None)]
    mine = [*base, event(1, START_US + 2 * HOUR_US, 1, 100, None)]
    theirs = [*base, event(2, START_US + 40 * DAY_US, 2, 100, None)]
    out = merged(record(base), record(mine), record(theirs))
    assert np.array_equal(out["bucket_count"], record([*mine, theirs[1]])["bucket_count"])
    assert out["count"] == 3
    assert out["last_us"] == START_US + 40 * DAY_US


def test_counts_stop_where_they_are_full() -> None:
    base = record([event(0, START_US, 0, 100, None)])
    mine, theirs = base.copy(), base.copy()
    mine["bucket_count"][base["bucket_count"] > 0] = 40_000
    theirs["bucket_count"][base["bucket_count"] > 0] = 40_000
    mine["link_count"][0, 0] = theirs["link_count"][0, 0] = 65_535
    mine["hours"][0, 0] = theirs["hours"][0, 0] = 200
    out = merged(base, mine, theirs)
    assert out["bucket_count"].max() == 65_535
    assert out["link_count"][0, 0] == 65_535
    assert 128 <= out["hours"].max() <= 255


def test_labels_of_both_count_and_fade_alike() -> None:
    about = {"merchant": "m"}
    first = event(0, START_US, 0, 100, None)
    labels = [
        ResolvedLabel(Label("merchant", "m", verdict, START_US + i * 10 * DAY_US), about)  # type: ignore[arg-type]
        for i, verdict in enumerate(["fraud", "good", "fraud"])
    ]
    base = record([first, labels[0]])
    out = merged(base, record([first, labels[0], labels[1]]), record([first, labels[0], labels[2]]))
    alone = record([first, *labels])
    for name in ("fraud_labels", "good_labels", "label_s", "fraud_s"):
        assert out[name] == alone[name], name
    assert int(out["known"][0]) in (0b101, 0b110), "the last three, of which the two that came at once in either order"
    assert out["label_weight"] == pytest.approx(alone["label_weight"], rel=1e-5)
    assert out["fraud_weight"] == pytest.approx(alone["fraud_weight"], rel=1e-5)


def test_packed_records_are_the_same_to_the_bit() -> None:
    state = MemoryState(SCHEMA, max_entities=5000)
    state.apply(stream(11, 800))
    records, _, _ = state.contents()
    rows = np.arange(len(records))[::-1].copy()
    versions = np.arange(len(records), dtype=np.uint64) + np.uint64(5)
    values = pack(records, rows, versions)
    back, back_versions = unpack(values)
    assert same(back, records[rows])
    assert np.array_equal(back_versions, versions[rows] + np.uint64(1))
    assert max(map(len, values)) < RECORD.itemsize
    with pytest.raises(ValueError, match="not packed"):
        unpack([values[0][:-8]])


def test_what_is_written_is_what_changed() -> None:
    state = MemoryState(SCHEMA, max_entities=1000)
    state.apply([event(i, START_US + i, i, 100, None) for i in range(4)])
    before = state.contents()[0].copy()
    state.apply([event(9, START_US + 9, 2, 100, None), event(10, START_US + 10, 7, 100, None)])
    now = state.contents()[0]
    crowded = np.array([kind.crowded for kind in SCHEMA.kinds])
    todo = plan(now, before, crowded)
    users = {int(now["key"][i]) for i in todo.plain[: todo.writes]}
    assert users == {entity_key("default", "user", "u2"), entity_key("default", "user", "u7")}
    assert len(todo.plain) == 5
    assert [int(now["key"][i]) for i in todo.mixed] == [KEY]
