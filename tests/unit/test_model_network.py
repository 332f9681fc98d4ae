"""The graph network as a part of a model: it joins where the last block gains by it, out of fold; what it is served with is what it was
trained with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gnn.checkpoint import flat
from gnn.history import Batch, History, Labels, tokens
from gnn.options import Options
from ringwatch.errors import BadInput
from ringwatch.model import HOUR_US, MINUTE_US
from scorers.learned.model import NETWORK, Evaluator
from training import network
from training.fit import Learned, learn
from training.graph import Graph
from training.table import Table

EVENTS = 3000
KINDS, CROWDED = ("user", "shop"), (False, True)


def stream(seed: int = 0, *, taken_over: bool = True) -> tuple[Table, Graph]:
    """A third of the frauds shows in the amount, which the table tells. The others are at shops that are taken over for some days, which
    amounts and labels of the shop's last events tell; the table does not have them."""
    rng = np.random.default_rng(seed)
    at_us = np.arange(EVENTS) * 10 * MINUTE_US
    shop = rng.integers(0, 12, EVENTS)
    spell = (at_us // (40 * HOUR_US) * 7 + shop * 5) % 9 == 0
    odd = rng.random(EVENTS) < 0.04
    fraud = odd | (spell & (rng.random(EVENTS) < 0.9) & taken_over)
    amount = (rng.normal(8.0, 1.0, EVENTS) + 4.0 * odd).astype(np.float32)
    entity = np.stack([rng.integers(0, 100, EVENTS), 100 + shop], 1).astype(np.int32)
    of_shop = (rng.normal(8.0, 1.0, EVENTS) + 3.0 * (spell & taken_over)).astype(np.float32)
    batch = Batch(at_us, np.full(EVENTS, 3, np.int16), of_shop, np.full(EVENTS, -1, np.int8), entity, tokens(EVENTS))
    row = np.arange(EVENTS)
    history = History(batch, Labels.ordered(row, fraud.astype(np.int8), at_us + HOUR_US), KINDS, CROWDED)
    features = np.column_stack([amount, rng.normal(size=EVENTS), rng.normal(size=EVENTS)]).astype(np.float32)
    table = Table(
        ("event.amount_log", "user.gap_s", "user.fraud_rate"), ("velocity",), features, np.full((EVENTS, 1), np.nan, np.float32),
        fraud.astype(np.int8), at_us, at_us + HOUR_US, np.full(EVENTS, 3600.0, np.float32), row,
    )  # fmt: skip
    return table, Graph(history, row)


USED = Options(epochs=6, batch=128)
TABLE, GRAPH = stream()
TRAIN, TEST = np.arange(2400), np.arange(2400, EVENTS)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    pytest.importorskip("torch").set_num_threads(1)
    pytest.importorskip("torch_geometric")


@pytest.fixture(scope="module")
def learned() -> Learned:
    return learn(TABLE.where(TRAIN), seed=1, graph=GRAPH, options=USED)


def test_it_joins_where_it_knows_what_trees_do_not(learned: Learned) -> None:
    tested = TABLE.where(TEST)
    alone = learn(TABLE.where(TRAIN), seed=1).model
    assert alone.network is None
    assert learned.model.network is not None
    assert learned.model.untold.network > 0.0
    evaluator = Evaluator(learned.model, TABLE.feature_names, TABLE.scorer_names)
    added = learned.model.network.margins(GRAPH.history, TEST)
    scores, heard = tested.scores.astype(np.float64), np.full(len(TEST), np.inf)
    both = evaluator.margin(tested.features, scores, heard, added)
    trees = Evaluator(alone, TABLE.feature_names, TABLE.scorer_names).margin(tested.features, scores, heard)
    assert roc_auc_score(tested.label, both) > roc_auc_score(tested.label, trees) + 0.1
    addends = evaluator.explain(tested.features, scores, stale=True, network=added)
    assert addends.names[-1] == NETWORK
    assert addends.log_odds.sum(axis=1) == pytest.approx(both, abs=1e-9)
    with pytest.raises(BadInput, match="has a graph network"):
        evaluator.margin(tested.features, scores, heard)


def test_a_network_that_saw_its_own_rows_would_be_believed() -> None:
    """The planted leak: an in-fold score. Where labels have no reason, a network trained on the blocks that judge it says it gains much by
    them; those of the blocks before each gain next to nothing."""
    noise = stream(seed=3)[0].where(TRAIN)
    noise.label[:] = np.random.default_rng(4).random(len(TRAIN)) < 0.15
    unlabelled = replace(GRAPH, history=replace(GRAPH.history, labels=Labels.none()))
    rows = network.Rows(TRAIN, np.ones(len(TRAIN), np.int64), noise.blocks(np.arange(len(TRAIN))))
    later = len(TRAIN) - rows.blocks.since(2).start
    base = np.random.default_rng(5).normal(scale=0.1, size=(later, 1)) - 1.7
    fits = network.Fits(unlabelled, rows, 1, Options(batch=128, dropout=0.0))
    knowing = fits.fit(rows.all(), 20)
    leaky = network.gain(rows, base, np.concatenate([fits.score(knowing, k, hidden=False) for k in (2, 3)]))
    before = [fits.score(fits.fit(rows.blocks.before(k), 20), k, hidden=False) for k in (2, 3)]
    honest = network.gain(rows, base, np.concatenate(before))
    assert leaky.log_loss > 0.1
    assert honest.log_loss < leaky.log_loss / 20


def test_labels_that_a_frozen_block_would_not_know_are_not_seen() -> None:
    rows = network.Rows(TRAIN, np.ones(len(TRAIN), np.int64), TABLE.blocks(TRAIN))
    labels, begins_us = GRAPH.history.labels, GRAPH.history.events.at_us[rows.blocks[3].start]
    turned = np.where(labels.known_us > begins_us, 1 - labels.value, labels.value).astype(np.int8)
    other = replace(GRAPH, history=replace(GRAPH.history, labels=replace(labels, value=turned)))
    one, another = (network.Fits(graph, rows, 1, USED) for graph in (GRAPH, other))
    gnn = one.fit(rows.blocks.before(3), 1)
    assert (one.score(gnn, 3, hidden=True) == another.score(gnn, 3, hidden=True)).all()
    assert (one.score(gnn, 3, hidden=False) != another.score(gnn, 3, hidden=False)).any()


def test_a_training_that_was_interrupted_goes_on(learned: Learned, tmp_path: Path) -> None:
    told: list[str] = []

    def interrupt(share: float, words: str) -> None:
        if words == "graph network 2 of 3, epoch 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(TABLE.where(TRAIN), seed=1, graph=GRAPH, options=USED, state=tmp_path, progress=interrupt)
    again = learn(
        TABLE.where(TRAIN),
        seed=1,
        graph=GRAPH,
        options=USED,
        state=tmp_path,
        progress=lambda _, words: told.append(words),
    )
    assert "graph network 1 of 3, epoch 1" not in told
    assert "graph network 2 of 3, epoch 1" not in told
    assert "graph network 3 of 3, epoch 1" in told
    assert again.model.network is not None
    assert learned.model.network is not None
    assert all(
        (a == b).all()
        for a, b in zip(
            flat(again.model.network.weights).values(), flat(learned.model.network.weights).values(), strict=True
        )
    )
