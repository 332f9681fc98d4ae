"""Embeddings know the past only, whatever the batches; planted leaks are caught; a checkpoint for something else is refused."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from gnn.batches import Hiding, graph_of
from gnn.checkpoint import load, save
from gnn.history import Batch, History, Labels, Numbering, tokens
from gnn.live import Live
from gnn.network import Gnn, Scored
from gnn.replay import chunks, replay
from gnn.schema import AGGREGATIONS, GraphSchema, mark_interval_us
from ringwatch.errors import BadInput, Corrupt
from ringwatch.model import DAY_US, HOUR_US, MINUTE_US
from tests.support.gnn import CROWDED, KINDS, MARK_US, history, network, until

H = history()
ROWS = np.arange(len(H.events))


def scored(h: History, gnn: Gnn | None = None) -> Scored:
    return (gnn or network()).score(h, np.arange(len(h.events)))


def with_event(h: History, row: int, **changes: object) -> History:
    """The same history but for one event."""
    columns = {f.name: getattr(h.events, f.name).copy() for f in fields(Batch)}
    for name, value in changes.items():
        columns[name][row] = value
    return replace(h, events=Batch(**columns))


def at(minutes: list[float], entity: list[list[int]], labels: Labels | None = None) -> History:
    n = len(minutes)
    events = Batch(
        (np.array(minutes) * MINUTE_US).astype(np.int64), np.full(n, 3, np.int16), np.full(n, 5, np.float32),
        np.full(n, -1, np.int8), np.array(entity, np.int32), tokens(n),
    )  # fmt: skip
    return History(events, labels or Labels.none(), KINDS, CROWDED)


def differs(a: Scored, b: Scored) -> list[int]:
    """Rows whose embeddings differ."""
    return np.flatnonzero((a.embeddings != b.embeddings).any(axis=(1, 2))).tolist()


def test_nothing_of_the_future_is_in_a_score() -> None:
    whole = scored(H)
    for rows in (50, 171, 333):
        part = scored(until(H, rows))
        assert (part.margin == whole.margin[:rows]).all()
        assert (part.embeddings == whole.embeddings[:rows]).all()


def test_a_future_link_changes_nothing_before_it() -> None:
    row = 200
    same_time = int(np.searchsorted(H.events.at_us, H.events.at_us[row]))
    changed = differs(scored(H), scored(with_event(H, row, entity=[3, 90, 118])))
    assert changed
    assert min(changed) >= same_time


@pytest.mark.parametrize("later", [0, 1])
def test_an_event_at_the_instant_of_a_mark_is_not_seen_by_another_of_that_instant(later: int) -> None:
    h = at([1, 25, 40, 40, 40.001, 50, 50.001], [[0, 1, 2]] * 7)
    gnn = network(later=later)
    changed = differs(scored(h, gnn), scored(with_event(h, 2, amount_log=9.0), gnn))
    assert changed == ([4, 5, 6], [6])[later]


def test_embeddings_are_of_a_mark_strictly_before_the_event() -> None:
    got = scored(H)
    known = got.age_us >= 0
    assert known.any()
    assert (got.age_us[known] > MARK_US).all()
    marks_us = (H.events.at_us[:, None] - got.age_us)[known]
    assert (marks_us % MARK_US == 0).all()


@pytest.mark.parametrize("later", [0, 1])
def test_an_embedding_is_not_refreshed_between_marks_and_counts_when_it_is_due(later: int) -> None:
    h = at([1, 31, 32, 33, 41, 50, 51], [[0, 1, 2]] * 7)
    gnn = network(later=later)
    changed = differs(scored(h, gnn), scored(with_event(h, 1, amount_log=9.0), gnn))
    assert changed == ([4, 5, 6], [6])[later]


def test_an_embedding_counts_a_mark_later_also_where_nothing_happened_since() -> None:
    h = at([1, 11, 500], [[0, 1, 2]] * 3)
    assert scored(h).age_us[2, 0] == 480 * MINUTE_US
    assert scored(h, network(later=0)).age_us[1, 0] == MINUTE_US
    assert scored(h).age_us[1, 0] == -1


@pytest.mark.parametrize("later", [0, 1])
def test_a_label_is_seen_after_its_delay_only(later: int) -> None:
    def labelled(value: int) -> History:
        label = Labels(np.array([0]), np.array([value], np.int8), np.array([25 * MINUTE_US]))
        return at([1, 12, 24, 25, 26, 30, 31, 40, 41], [[0, 1, 2]] * 9, label)

    gnn = network(later=later)
    assert differs(scored(labelled(0), gnn), scored(labelled(1), gnn)) == ([6, 7, 8], [8])[later]


def test_a_label_known_before_its_event_is_refused() -> None:
    label = Labels(np.array([1]), np.array([1], np.int8), np.array([11 * MINUTE_US]))
    with pytest.raises(BadInput, match="known before the event"):
        at([1, 12], [[0, 1, 2]] * 2, label)


def test_training_sees_labels_as_of_the_mark() -> None:
    gnn = network()
    done = replay(H, gnn.schema)
    for hiding in (Hiding(), Hiding(span_us=2 * HOUR_US), Hiding(after_us=5.0 * HOUR_US), Hiding(span_us=np.inf)):
        graph = graph_of(done, ROWS, hiding)
        version = np.unique(done.placed.version[done.placed.version >= 0])
        assert len(graph.inner) == len(version)
        for edges in (graph.events, graph.labelled):
            mark_us = done.rows.at_us[edges.source] + (edges.age_s.astype(np.float64) * 1e6).astype(np.int64)
            known = edges.state > 0
            slack = 2_000_000
            assert (done.rows.known_us[edges.source][known] <= mark_us[known] - hiding.span_us + slack).all()
            assert (done.rows.known_us[edges.source][known] <= hiding.after_us).all()
            assert (edges.age_s >= 0).all()
        assert len(graph.labelled.to) == 0 or not np.isinf(hiding.span_us)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_any_batch_size_gives_the_same_bits(aggregation: str) -> None:
    gnn = network(aggregation, dense=2)
    features = np.random.default_rng(4).normal(size=(len(ROWS), 2)).astype(np.float32)
    features[::5, 0] = np.nan
    whole = gnn.score(H, ROWS, features)
    for size in (1, 7, 150):
        live, first, parts = Live(gnn), 0, []
        for batch, labels in chunks(H, size):
            parts.append(live.apply(batch, labels, features[first : first + len(batch)]))
            first += len(batch)
        for ours, theirs in zip(whole, zip(*parts, strict=True), strict=True):
            assert (ours == np.concatenate(theirs)).all()


def test_some_rows_score_as_all_do() -> None:
    gnn, some = network(), ROWS[::-7]
    assert (gnn.margins(H, some) == scored(H, gnn).margin[some]).all()


def test_a_new_entity_has_an_embedding_at_once() -> None:
    h = at([1, 25, 25], [[0, 1, 2], [7, 1, 2], [8, -1, 2]])
    got = scored(h)
    assert got.age_us[1].tolist() == [-1, 15 * MINUTE_US, 15 * MINUTE_US]
    assert (got.embeddings[1:, 0] != 0).any(axis=1).all()
    assert (got.embeddings[2, 1] == 0).all()
    assert (got.embeddings[1, 0] != got.embeddings[2, 0]).any()


def test_a_replay_keeps_only_what_its_events_meet() -> None:
    gnn, some = network(), ROWS[250:]
    few = replay(H, gnn.schema, since=250)
    assert len(few.made.entity) < len(replay(H, gnn.schema).made.entity)
    assert (gnn.margins(H, some, done=few) == scored(H, gnn).margin[some]).all()


def test_only_the_touched_are_refreshed_and_those_met_by_a_fraud() -> None:
    for value, refreshed in ((0, {0, 1, 2}), (1, {0, 1, 2, 5})):
        label = Labels(np.array([0]), np.array([value], np.int8), np.array([35 * MINUTE_US]))
        h = at([1, 12, 45], [[0, 1, 2], [5, -1, 2], [9, -1, -1]], label)
        made = replay(h, network().schema).made
        assert set(made.entity[made.mark_us == 40 * MINUTE_US].tolist()) == refreshed


def test_hubs_keep_some_events_of_a_long_time_and_quiet_ones_all() -> None:
    n = 4000
    h = at([i / 8 for i in range(n)], [[i, -1, n] for i in range(n)])
    quiet, crowded = (replay(replace(h, crowded=c), GraphSchema(KINDS, c, MARK_US)) for c in ((False,) * 3, CROWDED))
    spans = [
        r.rows.at_us[r.made.events[-1]].max() - r.rows.at_us[r.made.events[r.made.kind == 2][-1]].min()
        for r in (quiet, crowded)
    ]
    assert spans[1] > 20 * spans[0]


def test_marks_are_the_longest_with_few_events_between() -> None:
    for every_us, interval_us in ((1_000_000, MINUTE_US), (7_000_000, 10 * MINUTE_US), (HOUR_US, DAY_US)):
        assert mark_interval_us(np.arange(5000) * every_us) == interval_us
    assert mark_interval_us(np.zeros(0, np.int64)) == MINUTE_US


def test_entities_are_numbered_as_they_are_met() -> None:
    keys = np.array([[5, 0], [9, 5], [5, 5]], np.uint64)
    numbers = Numbering()
    assert numbers.of(keys[:2]).tolist() == [[0, -1], [1, 2]]
    assert numbers.of(keys[2:]).tolist() == [[0, 2]]


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    gnn = network("hgt", dense=2)
    save(gnn, tmp_path / "gnn.safetensors")
    back = load(tmp_path / "gnn.safetensors", kinds=KINDS, features=("f0", "f1"))
    assert (back.schema, back.shape, back.features, back.card) == (gnn.schema, gnn.shape, gnn.features, gnn.card)
    features = np.zeros((len(ROWS), 2), np.float32)
    assert (back.margins(H, ROWS, features) == gnn.margins(H, ROWS, features)).all()


def test_a_checkpoint_for_something_else_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "gnn.safetensors"
    save(network(dense=2), path)
    with pytest.raises(BadInput, match="not for user, terminal"):
        load(path, kinds=("user", "terminal"))
    with pytest.raises(BadInput, match="f1, g differ"):
        load(path, features=("f0", "g"))
    data = path.read_bytes()
    path.write_bytes(data.replace(network().schema.hash.encode(), b"0" * 16))
    with pytest.raises(BadInput, match="trained on inputs 0000"):
        load(path)
    path.write_bytes(data[:500])
    with pytest.raises(Corrupt, match="no checkpoint"):
        load(path)
    path.write_bytes(data[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(Corrupt, match="not finite"):
        load(path)
