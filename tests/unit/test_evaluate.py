"""Metrics against plain recomputation, protocols, and the promise that no label is fed before its time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.streams import START_US, payment

from evaluate.backtest import ABLATION, Learning, Report, backtest
from evaluate.metrics import Scored, best_f1_threshold, f1_macro, precision_at_k, roc_auc
from evaluate.protocol import Protocol, fold_of, load_protocol
from features.memory_state import MemoryState
from features.schema import FeatureSchema
from gnn.options import Options
from ingest.source import Chunk
from ingest.stream import ScoringStream
from ringwatch.errors import BadInput
from ringwatch.model import DAY_US, Event, Label
from scorers.assess import Assessor
from scorers.decision import Decisions
from scorers.policy import Policy
from scorers.registry import build_scorers
from training import network
from training.graph import GraphBuilder
from training.judging import RULE_STAYS
from training.labelled import read_rows
from training.replay import Replay

SCHEMA = FeatureSchema()


class ListSource:
    """A source over items in memory."""

    name = "list"
    source_id = "list"

    def __init__(self, items: list[Event | Label]) -> None:
        self._items = items

    def read(self, *, after: int = 0) -> Iterator[Chunk]:
        for i in range(after, len(self._items), 100):
            part = self._items[i : i + 100]
            yield Chunk(part, list(range(i + 1, i + 1 + len(part))), None)


class Recording(ScoringStream):
    """Remembers which label was handed over, and when."""

    fed: list[tuple[int, str]]

    def feed(self, items):  # type: ignore[no-untyped-def, override]
        for _, item in items:
            if not isinstance(item, Event):
                self.fed.append((item.label.known_at_us, item.label.target_id))
        return super().feed(items)


def recording() -> Recording:
    stream = Recording(MemoryState(SCHEMA, max_entities=2000), Assessor(build_scorers(), Policy(), SCHEMA))
    stream.fed = []
    return stream


def history(n: int = 600, *, shuffled: bool = False) -> list[Event | Label]:
    rng = np.random.default_rng(1)
    items: list[Event | Label] = []
    order = rng.permutation(n) if shuffled else np.arange(n)
    for i in order.tolist():
        bad = i % 10 == 0
        event = payment(
            i, START_US + i * DAY_US // 20, entities={"user": f"u{i % 30}"}, amount_minor=9000 if bad else 100
        )
        items += [event, Label("event", event.event_id, "fraud" if bad else "good", event.at_us)]
    return items


def test_precision_at_k_by_hand() -> None:
    s = Scored(
        score=np.array([0.9, 0.8, 0.7, 0.9, 0.6, 0.5]),
        fraud=np.array([True, False, True, True, True, False]),
        at_us=np.array([0, 0, 0, DAY_US, DAY_US, DAY_US]),
        entity=np.array([1, 2, 3, 1, 4, 5]),
        order=np.arange(6),
    )
    # Day 1: 1 and 2 are looked at, 1 is caught. Day 2: without 1, 4 and 5 are looked at, 4 is caught.
    assert precision_at_k(s, 2) == pytest.approx((0.5 + 0.5) / 2)


def test_threshold_for_f1_is_the_best_one() -> None:
    rng = np.random.default_rng(2)
    score, fraud = rng.random(300).round(2), rng.random(300) < 0.3
    s = Scored(score, fraud, np.zeros(300, np.int64), np.zeros(300, np.int64), np.arange(300))
    best = max(f1_macro(s, t) for t in np.unique(score))
    assert f1_macro(s, best_f1_threshold(s)) == pytest.approx(best)


def test_one_class_has_no_auc() -> None:
    s = Scored(np.ones(3), np.zeros(3, np.bool_), np.zeros(3, np.int64), np.zeros(3, np.int64), np.arange(3))
    assert np.isnan(roc_auc(s))


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_label_is_never_known_before_its_delay(shuffled: bool) -> None:
    streams: list[Recording] = []

    def new() -> Recording:
        streams.append(recording())
        return streams[-1]

    items = history(shuffled=shuffled)
    at = {i.event_id: i.at_us for i in items if isinstance(i, Event)}
    backtest(ListSource(items), new, Protocol(), label_delay_us=7 * DAY_US)
    assert len(streams[0].fed) == 600
    assert all(known == at[target] + 7 * DAY_US for known, target in streams[0].fed)


def test_labels_of_test_rows_are_never_fed_when_training_rows_only() -> None:
    streams: list[Recording] = []

    def new() -> Recording:
        streams.append(recording())
        return streams[-1]

    protocol = Protocol(random_test_size=0.6, seed=2, labels="train")
    report = backtest(ListSource(history()), new, protocol)
    assert len(streams[0].fed) == 240
    assert report.figures["rows"] == 360


def test_the_published_random_split_is_reproduced() -> None:
    from sklearn.model_selection import train_test_split

    items = history()
    fed: list[Recording] = []

    def new() -> Recording:
        fed.append(recording())
        return fed[-1]

    backtest(ListSource(items), new, Protocol(random_test_size=0.6, seed=2, labels="train"))
    classes = [1 if i % 10 == 0 else 0 for i in range(600)]
    train, _ = train_test_split(np.arange(600), test_size=0.6, stratify=classes, random_state=2, shuffle=True)
    assert {target for _, target in fed[0].fed} == {f"e{i}" for i in train}


def test_in_time_split_cuts_labels_off() -> None:
    fed: list[Recording] = []

    def new() -> Recording:
        fed.append(recording())
        return fed[-1]

    backtest(ListSource(history()), new, Protocol(time_share=0.7, labels="train"))
    assert {target for _, target in fed[0].fed} == {f"e{i}" for i in range(420)}


def test_scores_are_written_with_one_column_a_scorer(tmp_path: Path) -> None:
    for name in ("s.parquet", "s.csv"):
        out = tmp_path / name
        report = backtest(ListSource(history()), recording, Protocol(time_share=0.7), out=out)
        assert report.events == 600
        if name == "s.parquet":
            table = pq.read_table(out)
            assert table.num_rows == 600
            needed = {"event_id", "at", "user", "part", "score", "level", "action", "label", "reasons", "neighbourhood"}
            assert needed <= set(table.column_names)
            assert set(table["part"].to_pylist()) == {"train", "test"}
        else:
            assert len(out.read_text().splitlines()) == 601
    with pytest.raises(BadInput, match="ends in"):
        backtest(ListSource(history()), recording, Protocol(), out=tmp_path / "s.xlsx")


def test_known_frauds_are_left_out_of_later_test_days() -> None:
    start = START_US // DAY_US * DAY_US
    items: list[Event | Label] = []
    for i, (user, day) in enumerate([("a", 0), ("b", 9), ("a", 20), ("b", 20), ("c", 20)]):
        event = payment(i, start + day * DAY_US, entities={"user": user})
        items += [event, Label("event", event.event_id, "fraud" if day < 20 else "good", event.at_us)]
    fold = fold_of(
        {k: str(np.datetime64((start + d * DAY_US) // 1_000_000, "s")) for k, d in
         (("train_from", 0), ("train_until", 7), ("test_from", 14), ("test_until", 21))}, "f"
    )  # fmt: skip
    near = Protocol(folds=(fold,), exclude_entity="user", exclude_delay_days=7)
    far = Protocol(folds=(fold,), exclude_entity="user", exclude_delay_days=15)
    assert backtest(ListSource(items), recording, near).figures["rows"] == 1
    assert backtest(ListSource(items), recording, far).figures["rows"] == 2


def test_figures_are_right_for_a_score_that_is_right() -> None:
    report = backtest(ListSource(history()), recording, Protocol(time_share=0.5))
    assert report.figures["roc_auc"] > 0.9
    assert report.labelled == 600
    assert sum(sum(v.values()) for v in report.levels.values()) == 300


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(BadInput, match="no usable events"):
        backtest(ListSource([]), recording, Protocol())


@pytest.mark.parametrize(
    "text",
    ["split: {folds: []}", "metrics: [luck]\nsplit: {time_share: 0.5}", "labels: some\nsplit: {time_share: 0.5}",
     "spilt: {}", "split: {time_share: 3.0}", "split: [", "split: {folds: [{train_from: 1}]}",
     "split: {folds: [{train_from: 2020-01-02, train_until: 2020-01-01, test_from: 2020-01-03, test_until: 2020-01-04}]}"],
)  # fmt: skip
def test_broken_protocols_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(BadInput):
        load_protocol(path)


def test_the_shipped_protocols_load() -> None:
    folder = Path(__file__).parents[2] / "mappings"
    found = {p.name: load_protocol(p) for p in folder.glob("*.protocol.yaml")}
    assert len(found["handbook.protocol.yaml"].folds) == 4
    assert found["sffsd-random.protocol.yaml"].random_test_size == 0.6
    assert found["sffsd-time.protocol.yaml"].labels == "train"


def test_decisions_are_of_the_batch() -> None:
    stream = recording()
    d = stream.feed([(0, payment(1, START_US))])
    assert isinstance(d, Decisions)
    assert d.select(0, 1) is d


def besides_the_rule(report: Report) -> list[str]:
    """Its notes, but for those that the rule stays beside a model, which is not the question there."""
    return [note for note in report.notes if not note.endswith(RULE_STAYS)]


def test_a_model_is_trained_on_the_training_part_and_scores_the_test_part(tmp_path: Path) -> None:
    out = tmp_path / "s.parquet"
    protocol = Protocol(time_share=0.7, labels="train", metrics=("roc_auc", "f1_macro"))
    items = history()
    report = backtest(ListSource(items), recording, protocol, learning=Learning((0, 1), True, False), out=out)
    assert not besides_the_rule(report)
    assert report.trained
    assert report.spread.keys() == report.figures.keys()
    assert report.ablation.keys() == {name for name, way in ABLATION.items() if not way.of_network}
    assert report.figures["rows"] == report.rule["rows"] == 180
    table = pq.read_table(out)
    learned = table["learned"].to_numpy(zero_copy_only=False)
    tested = np.array(table["part"].to_pylist()) == "test"
    assert np.isfinite(learned[tested]).all()
    assert np.isnan(learned[~tested]).all()
    fraud = np.array([label == "fraud" for label in table["label"].to_pylist()])
    kept = Scored(learned[tested], fraud[tested], np.zeros(180, np.int64), np.zeros(180, np.int64), np.arange(180))
    assert roc_auc(kept) == pytest.approx(report.folds[0]["roc_auc"])


def test_what_nobody_knew_when_the_test_began_does_not_teach() -> None:
    protocol = Protocol(time_share=0.7)
    of_all = backtest(ListSource(history()), recording, protocol, learning=Learning(network=False))
    of_none = backtest(
        ListSource(history()), recording, protocol, learning=Learning(network=False), label_delay_us=90 * DAY_US
    )
    assert of_all.trained
    assert not besides_the_rule(of_all)
    assert not of_none.trained
    assert of_none.figures == of_none.rule
    assert of_none.notes[0].startswith("fold 1: 420 labels of the training part were not known")
    assert "0 frauds" in of_none.notes[1]


def test_with_too_few_labels_the_robust_rule_stands_and_it_is_said() -> None:
    few = Protocol(time_share=0.1, labels="train")
    report = backtest(ListSource(history()), recording, few, learning=Learning(network=False))
    assert report.figures == report.rule
    assert not report.trained
    assert len(report.notes) == 1
    assert "robust rule" in report.notes[0]


@pytest.mark.skipif(network.there(), reason="torch is installed")
def test_where_torch_is_not_installed_it_is_said() -> None:
    report = backtest(ListSource(history()), recording, Protocol(time_share=0.5), learning=Learning())
    assert report.trained
    assert besides_the_rule(report) == [network.WITHOUT_TORCH]


@pytest.mark.skipif(not network.there(), reason="torch is not installed")
def test_a_graph_network_is_trained_on_all_events_and_the_labels_that_were_fed() -> None:
    protocol = Protocol(time_share=0.7, labels="train", metrics=("roc_auc",))
    learning = Learning(ablation=True, options=Options(epochs=1, rows=500))
    report = backtest(ListSource(history()), recording, protocol, learning=learning)
    assert report.ablation.keys() == ABLATION.keys()
    assert not besides_the_rule(report)
    assert len(report.network) == 1
    assert "fold 1" in report.network[0]


def test_what_a_network_learns_from_is_the_stream_that_was_replayed() -> None:
    items = history()
    rows = read_rows(ListSource(items))
    stream, collected = recording(), GraphBuilder(SCHEMA, frozenset(rows.kinds), len(rows.ids))
    feeding = np.arange(len(rows.ids)) < 400
    Replay(stream, rows, feeding, DAY_US, collected.keep, collected.tell).run(ListSource(items))
    graph = collected.graph()
    assert graph.history.kinds == ("user",)
    assert graph.place.tolist() == list(range(600))
    assert graph.history.events.at_us.tolist() == rows.at_us
    assert (np.sort(graph.history.labels.row) == np.arange(400)).all()
    assert (graph.history.labels.known_us == np.array(rows.at_us)[graph.history.labels.row] + DAY_US).all()
    assert (graph.history.labels.value == np.array(rows.label)[graph.history.labels.row]).all()
    users = [item.entities["user"] for item in items if isinstance(item, Event)]
    assert len(set(zip(users, graph.history.events.entity[:, 0].tolist(), strict=True))) == len(set(users))
