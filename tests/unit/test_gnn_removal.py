"""What a network says without links it saw: the numbers of the whole, the limits, and against PyTorch Geometric's explainers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gnn.network import Gnn
from gnn.options import Options
from gnn.removal import Hood, Link, embedded_without, hood_of, links_of, margins_without
from gnn.replay import replay
from gnn.schema import AGGREGATIONS, COMMON, SLOT
from tests.support.gnn import history, network

H = history(400, seed=4)
ROWS = np.arange(250, 400, 5)


def hoods(gnn: Gnn) -> list[Hood]:
    done = replay(H, gnn.schema)
    return [hood_of(gnn, done, row) for row in ROWS.tolist()]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_without_nothing_it_says_what_it_said_to_the_bit(aggregation: str) -> None:
    gnn = network(aggregation)
    whole = gnn.margins(H, ROWS, np.zeros((len(ROWS), 0), np.float32))
    for hood, said in zip(hoods(gnn), whole, strict=True):
        assert margins_without(gnn, hood, [set()]) == [said]


def test_each_link_by_itself_is_as_all_in_one_batch() -> None:
    gnn = network()
    for hood in hoods(gnn)[:10]:
        links = links_of(hood)
        together = margins_without(gnn, hood, [{link} for link in links])
        assert [margins_without(gnn, hood, [{link}])[0] for link in links] == together.tolist()
        assert len(set(together.tolist())) > 1


def test_an_entity_that_is_not_named_is_as_one_the_event_never_had() -> None:
    """Of an event whose other entities are the same to the network with or without it: their embeddings are older than the event."""
    gnn = network()
    done = replay(H, gnn.schema)
    row, kind = 399, 1
    events = H.events
    assert events.entity[row, kind] >= 0
    hood = hood_of(gnn, done, row)
    entity = events.entity.copy()
    entity[row, kind] = -1
    other = replace(H, events=replace(events, entity=entity))
    bare = hood_of(gnn, replay(other, gnn.schema), row)
    places = [len(COMMON) + len(SLOT) * k + SLOT.index("known") for k in range(3)]
    bare.x[places] = np.where(
        np.arange(3) == kind, 0.0, hood.x[places]
    )  # the share of those met before is told of all others
    assert margins_without(gnn, hood, [{Link(kind, -1)}], named=False) == margins_without(gnn, bare, [set()])


def test_without_all_it_met_an_entity_is_as_one_that_met_nobody() -> None:
    gnn = network()
    for hood in hoods(gnn)[:10]:
        met = {link for link in links_of(hood) if link.met >= 0}
        alone = hood._replace(met_kind=np.full_like(hood.met_kind, -1))
        of = np.flatnonzero(hood.known)
        alone.embedded[of] = embedded_without(gnn, alone, of, np.zeros((len(of), hood.met_kind.shape[1]), np.bool_))
        assert margins_without(gnn, hood, [met]) == margins_without(gnn, alone, [set()])


# -- against PyTorch Geometric


@pytest.fixture(scope="module")
def masked() -> tuple[Gnn, list[tuple[Hood, Any]]]:
    """A network that has learnt a little, and each event's graph as the explainers take it."""
    torch = pytest.importorskip("torch", reason="torch is not installed: make install-train")
    pytest.importorskip("torch_geometric", reason="torch_geometric is not installed: make install-train")
    from gnn.masked import masked_of, net_of
    from gnn.train import fit

    torch.set_num_threads(1)
    gnn = fit(H, H.labels.row, H.labels.value, None, seed=3, options=Options(epochs=4, batch=64))
    done, net = replay(H, gnn.schema), net_of(gnn)
    rows = [row for row in ROWS.tolist() if (done.placed.version[row] >= 0).any()]
    return gnn, [(hood_of(gnn, done, row), masked_of(gnn, net, done, row)) for row in rows]


def test_the_graph_that_is_masked_is_the_network(masked: tuple[Gnn, list[tuple[Hood, Any]]]) -> None:
    import torch

    gnn, found = masked
    for hood, model in found:
        drawn = model.draw()
        assert sorted(drawn.links) == sorted(links_of(hood))
        with torch.no_grad():
            said = float(model(drawn.x, drawn.edge_index))
        assert said == pytest.approx(float(margins_without(gnn, hood, [set()])[0]), abs=1e-4)
    assert len(found) > 20


def masked_out(model: Any, drawn: Any, whole: float) -> np.ndarray[Any, Any]:
    """By how much the answer moves where the messages of one link are zeros, for each link."""
    import torch
    from torch_geometric.explain.algorithm.utils import clear_masks, set_masks

    found = []
    for i in range(len(drawn.links)):
        mask = torch.ones(len(drawn.links))
        mask[i] = 0.0
        set_masks(model, mask, drawn.edge_index, apply_sigmoid=False)
        with torch.no_grad():
            found.append(abs(whole - float(model(drawn.x, drawn.edge_index))))
        clear_masks(model)
    return np.array(found)


def removed(gnn: Gnn, hood: Hood, drawn: Any) -> tuple[float, np.ndarray[Any, Any]]:
    whole = float(margins_without(gnn, hood, [set()])[0])
    return whole, np.abs(whole - margins_without(gnn, hood, [{link} for link in drawn.links]))


def test_links_that_weigh_when_masked_weigh_when_removed(masked: tuple[Gnn, list[tuple[Hood, Any]]]) -> None:
    """Not the same to the bit: a mask leaves the embedding's age and the number of those met, which a removed link takes along."""
    from scipy.stats import spearmanr

    gnn, found = masked
    same, agreements, links = 0, [], 0
    for hood, model in found:
        drawn = model.draw()
        whole, ours = removed(gnn, hood, drawn)
        theirs = masked_out(model, drawn, whole)
        same += int(np.argmax(ours)) == int(np.argmax(theirs))
        links += len(drawn.links)
        if len(drawn.links) > 2:
            agreements.append(spearmanr(ours, theirs).statistic)
    assert links / len(found) > 10
    assert same / len(found) >= 0.8
    assert np.mean(agreements) > 0.8


def test_our_first_link_counts_for_more_in_their_model_than_that_of_gnn_explainer(
    masked: tuple[Gnn, list[tuple[Hood, Any]]],
) -> None:
    """Judged by masking it in PyTorch Geometric's own layers, on the same weights: neither of both is asked."""
    import torch
    from torch_geometric.explain import Explainer, GNNExplainer, ModelConfig

    gnn, found = masked
    torch.manual_seed(3)
    ours, theirs, most = [], [], []
    for hood, model in found[:15]:
        drawn = model.draw()
        whole, weights = removed(gnn, hood, drawn)
        moved = masked_out(model, drawn, whole)
        config = ModelConfig(mode="regression", task_level="graph", return_type="raw")
        explainer = Explainer(model, GNNExplainer(epochs=60, lr=0.05), "model", config, edge_mask_type="object")
        mask = explainer(drawn.x, drawn.edge_index).edge_mask.numpy()
        ours.append(moved[np.argmax(weights)])
        theirs.append(moved[np.argmax(mask)])
        most.append(moved.max())
    assert np.mean(ours) > np.mean(theirs)
    assert np.mean(ours) > 0.7 * np.mean(most)
