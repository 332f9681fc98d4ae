"""From a data set to a model with a graph network, and on to serving: what was trained is what is said of the stream, to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.models import SCHEMA, column, cut, new_book, new_stream, put, shop
from support.networks import Written

from evaluate.holdout import hold_out, predict
from features.columns import ResolvedLabel, entity_key
from gnn.history import fingerprint
from gnn.options import Options
from ingest.source import Chunk
from ringwatch.errors import Corrupt
from ringwatch.model import Event, Label
from scorers.learned.again import again
from scorers.learned.book import LABELS_STALE
from scorers.learned.inputs import MODELS
from scorers.learned.model import margin_of
from scorers.learned.shelf import Serving, Shelf
from scorers.registry import build_scorers
from training import network
from training.dataset import Options as Making
from training.dataset import make
from training.fit import learn
from training.graph import GraphBuilder
from training.network import Gain
from training.reading import Unlabelled, read_card, read_labelled, read_stream

ITEMS = shop(900, 5, labels_until=700)
SCORERS = {s.name: s.version for s in build_scorers()}
QUICK = Options(epochs=2, rows=500, batch=64)


@pytest.fixture
def one_thread() -> None:
    pytest.importorskip("torch").set_num_threads(1)
    pytest.importorskip("torch_geometric")


@dataclass
class Shop:
    items: Sequence[Event | Label]
    name: str = "shop"
    source_id: str = "shop"
    resumable: bool = True

    def read(self, *, after: int = 0) -> Iterator[Chunk]:
        part = self.items[after:]
        yield Chunk(part, list(range(after + 1, after + 1 + len(part))), 1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("set")
    items = [item.label if isinstance(item, ResolvedLabel) else item for _, item in ITEMS]
    assert make(Shop(items), new_stream(), path, Making()) is not None
    return path


def test_the_graph_beside_the_parts_is_that_of_the_replay_and_names_nobody(folder: Path) -> None:
    card, fed = read_card(folder), new_stream()
    assert card.graph_kinds == ("user", "device", "card")
    graph = read_stream(folder, card)
    assert graph is not None
    builder = GraphBuilder(SCHEMA, card.graph_kinds, 900)
    row: dict[str, int] = {}
    for seq, item in ITEMS:
        if isinstance(item, Event):
            row[item.event_id] = len(row)
            builder.keep(fed.feed([(seq, item)]), np.array([row[item.event_id]]))
        else:
            builder.tell(row[item.label.target_id], int(item.label.label == "fraud"), item.label.known_at_us)
    wanted = builder.graph()
    assert fingerprint(graph.history) == fingerprint(wanted.history)
    assert len(graph.history.labels) == 700
    assert np.array_equal(graph.place, wanted.place)
    files = [path.read_bytes() for path in folder.glob("graph-*")]
    assert len(files) == len(card.parts) + 1
    for kind, name in (("user", "u1"), ("device", "bad1"), ("card", "c1")):
        key = entity_key("default", kind, name)
        assert not any(key.to_bytes(8, "little") in raw for raw in files), "not even a hash of it"


def test_a_graph_that_is_missing_is_told_and_data_sets_without_are_read(folder: Path, tmp_path: Path) -> None:
    card = read_card(folder)
    assert read_stream(folder, msgspec.structs.replace(card, graph_kinds=())) is None
    for path in folder.iterdir():
        if path.name != "graph-00000.safetensors":
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(Corrupt, match="graph-00000"):
        read_stream(tmp_path, card)
    assert len(read_labelled(tmp_path, SCORERS, Unlabelled.LEAVE).table) == 700


@pytest.mark.usefixtures("one_thread")
def test_what_was_trained_from_a_data_set_is_what_serves(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is worth joining is not the question here."""
    monkeypatch.setattr(network, "gain", lambda *_: Gain(0.1))
    monkeypatch.setattr("evaluate.holdout.learn", partial(learn, options=QUICK))
    labelled = read_labelled(folder, SCORERS, Unlabelled.LEAVE)
    graph = read_stream(folder, read_card(folder))
    assert graph is not None
    held = hold_out(labelled, seed=1, share=0.3, progress=lambda share, words: None, graph=graph)
    assert 0.0 < held.metrics["average_precision"] <= 1.0
    model = learn(labelled.table, seed=1, graph=graph, options=QUICK).model
    assert model.network is not None
    for view in (model.told, model.untold):
        assert view.network > 0.0
        assert view.alone is not None
    shelf = Shelf(tmp_path / "models")
    shelf.serve(Serving(put(shelf, "one", model, tmp_path)))
    book = new_book(shelf)
    book.past = Written()
    made = cut(new_stream(book), ITEMS, 33)
    rows = np.arange(len(made))
    assert np.array_equal(margin_of(column(made, "network")), network.margins(model.network, graph, rows))
    stale = np.array([LABELS_STALE in codes for codes in made.degraded])
    assert 10 < stale.sum() < len(made)
    served = column(made, "learned")[labelled.table.row]
    told, untold = (replace(view, rule=False) for view in (model.told, model.untold))
    assert np.array_equal(served, predict(replace(model, told=told, untold=untold), labelled.table, graph))
    assert np.array_equal(again(made, shelf), made.scores_of(MODELS), equal_nan=True)
