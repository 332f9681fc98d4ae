from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.schema import FeatureSchema
from graph.ladybug_store import LadybugGraph
from graph.store import EntityRef, GraphBatch
from graph.writer import GraphWriter
from ringwatch.errors import Conflict, Unavailable
from ringwatch.model import BUILTIN_KINDS, Event, Versions
from scorers.decision import Decisions

SCHEMA = FeatureSchema()
HUB = EntityRef("default", "ip", "hub")


def decided(events: list[Event], seq: list[int]) -> Decisions:
    n = len(events)
    return Decisions(
        events=events,
        seq=np.array(seq, np.int64),
        features=np.zeros((n, 1), np.float32),
        schema=SCHEMA,
        scorer_names=(),
        scores=np.zeros((n, 0)),
        score=np.zeros(n),
        level=np.array([s % 4 for s in seq], np.uint8),
        action=np.zeros(n, np.uint8),
        reasons=[()] * n,
        versions=[Versions("", {}, "")] * len(events),
        timing_us={},
        degraded=[()] * n,
        patterns=[()] * n,
        ring_ids=(),
    )


def event(seq: int) -> Event:
    entities = {"user": f"u{seq * 7 % 11}", "device": f"d{seq % 5}", "ip": "hub"}
    at = seq * 37 % 101
    return Event(event_id=f"e{seq}", type="payment", at_us=at, entities=entities, amount_minor=seq)


def stretch(start: int, end: int) -> Decisions:
    return decided([event(s) for s in range(start, end)], list(range(start, end)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LadybugGraph]:
    opened = LadybugGraph(tmp_path / "graph.lbug", buffer_bytes=256 << 20)
    opened.prepare(BUILTIN_KINDS)
    yield opened
    opened.close()


def expected(n: int) -> dict[tuple[str, str], list[int]]:
    """(user, other) -> first, last, events, amount of the events 0..n-1, by a plain loop."""
    links: dict[tuple[str, str], list[int]] = {}
    for s in range(n):
        e = event(s)
        for kind in ("device", "ip"):
            tally = links.setdefault((e.entities["user"], e.entities[kind]), [e.at_us, e.at_us, 0, 0])
            tally[0], tally[1] = min(tally[0], e.at_us), max(tally[1], e.at_us)
            tally[2] += 1
            tally[3] += s
    return links


def held(store: LadybugGraph) -> dict[tuple[str, str], list[int]]:
    near = store.neighbourhood(HUB, hops=9, degree_cap=1000, limit=1000)
    return {
        (x.user.id, x.other.id): [x.first_seen_us, x.last_seen_us, x.events, x.amount_minor] for x in near.links
    }  # fmt: skip


def test_flush_applies_everything_submitted_and_says_how_far(store: LadybugGraph) -> None:
    with GraphWriter(store, batch_links=10_000) as writer:
        writer.submit(stretch(0, 30))
        writer.submit(stretch(30, 50))
        assert writer.flush() == 49
        assert held(store) == expected(50)


def test_close_applies_what_is_pending(store: LadybugGraph) -> None:
    writer = GraphWriter(store)
    writer.submit(stretch(0, 7))
    writer.close()
    assert store.applied_position() == 6


def test_flush_of_nothing_is_the_store_s_position(store: LadybugGraph) -> None:
    with GraphWriter(store) as writer:
        assert writer.flush() == -1


def test_a_full_batch_is_applied_without_a_flush(store: LadybugGraph) -> None:
    with GraphWriter(store, batch_links=5) as writer:
        writer.submit(stretch(0, 20))
        writer.submit(decided([], []))
        while store.applied_position() < 19:
            pass


def test_a_restart_that_replays_from_any_row_changes_nothing(store: LadybugGraph) -> None:
    with GraphWriter(store) as writer:
        writer.submit(stretch(0, 40))
    with GraphWriter(store) as writer:
        writer.submit(stretch(25, 60))
        assert writer.flush() == 59
    assert held(store) == expected(60)


def test_submit_after_close_is_a_conflict(store: LadybugGraph) -> None:
    writer = GraphWriter(store)
    writer.close()
    with pytest.raises(Conflict, match="the graph writer is closed"):
        writer.submit(stretch(0, 1))


class FullDisk(LadybugGraph):
    """A store whose writes stop succeeding, as on a full disk."""

    def apply(self, batch: GraphBatch) -> bool:
        raise Unavailable("no space left on device", hint="free some space")


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[FullDisk]:
    opened = FullDisk(tmp_path / "full.lbug", buffer_bytes=256 << 20)
    opened.prepare(BUILTIN_KINDS)
    yield opened
    opened.close()


def test_an_error_of_the_store_surfaces_on_flush_submit_and_close(failing: FullDisk) -> None:
    writer = GraphWriter(failing, batch_links=1)
    writer.submit(stretch(0, 3))
    with pytest.raises(Unavailable, match="no space left"):
        writer.flush()
    with pytest.raises(Unavailable, match="no space left"):
        writer.submit(stretch(3, 4))
    with pytest.raises(Unavailable, match="no space left"):
        writer.close()


def test_a_submitter_waiting_on_a_full_queue_learns_of_the_error(failing: FullDisk) -> None:
    writer = GraphWriter(failing, batch_links=1, queue_events=1)
    everything = (writer.submit(stretch(seq, seq + 1)) for seq in range(50))
    with pytest.raises(Unavailable, match="no space left"):
        deque(everything, maxlen=0)


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(n=st.integers(1, 120), batch_links=st.integers(1, 60), fold=st.integers(10, 200), seed=st.integers(0, 2**32))
def test_cuts_and_redeliveries_do_not_change_the_graph(
    tmp_path_factory: pytest.TempPathFactory, n: int, batch_links: int, fold: int, seed: int
) -> None:
    rng = random.Random(seed)
    path = tmp_path_factory.mktemp("graph") / "graph.lbug"
    store = LadybugGraph(path, fold_min_rows=fold, slice_rows=30, buffer_bytes=256 << 20)
    store.prepare(BUILTIN_KINDS)
    writer = GraphWriter(store, batch_links=batch_links)
    reached = 0
    while reached < n:
        start = rng.randint(max(0, reached - 10), reached)
        end = min(n, reached + rng.randint(1, 30))
        writer.submit(stretch(start, end))
        reached = end
        if rng.random() < 0.15:
            writer.close()
            writer = GraphWriter(store, batch_links=batch_links)
            reached = store.applied_position() + 1
    assert writer.flush() == n - 1
    writer.close()
    assert held(store) == expected(n)
    store.close()
