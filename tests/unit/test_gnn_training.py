"""Training: the same from its seed, with or without a break; what serving computes is what torch does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gnn.checkpoint import flat
from gnn.network import Gnn
from gnn.options import Options
from gnn.replay import replay
from gnn.schema import AGGREGATIONS
from ringwatch.errors import BadInput
from tests.support.gnn import history, network

torch = pytest.importorskip("torch")
pytest.importorskip("torch_geometric")
pytest.importorskip("safetensors")

H = history(500, seed=5)
ROWS, LABELS = H.labels.row, H.labels.value
FEATURES = np.random.default_rng(2).normal(size=(len(ROWS), 3)).astype(np.float32)
FEATURES[::4, 1] = np.nan


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def trained(seed: int = 3, *, state: Path | None = None, stop_after: int | None = None, epochs: int = 3) -> Gnn:
    from gnn.train import fit

    def progress(done: int, most: int, precision: float) -> None:
        assert 0 < done <= most
        if done == stop_after:
            raise KeyboardInterrupt

    options = Options(epochs=epochs, batch=64)
    return fit(H, ROWS, LABELS, FEATURES, seed=seed, options=options, progress=progress, state=state)


def same(a: Gnn, b: Gnn) -> bool:
    return all((x == y).all() for x, y in zip(flat(a.weights).values(), flat(b.weights).values(), strict=True))


def test_the_seed_decides() -> None:
    first = trained()
    assert same(first, trained())
    assert not same(first, trained(seed=4))
    assert first.card["seed"] == 3
    assert first.card["rows"] == len(ROWS)


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path: Path) -> None:
    state = tmp_path / "training"
    with pytest.raises(KeyboardInterrupt):
        trained(state=state, stop_after=2)
    assert same(trained(state=state), trained())
    assert len(list(state.iterdir())) == 1


def test_a_training_of_something_else_is_not_resumed(tmp_path: Path) -> None:
    from gnn.net import Net
    from gnn.resume import Fit, resume

    trained(state=tmp_path, epochs=1)
    assert same(trained(seed=9, state=tmp_path, epochs=1), trained(seed=9, epochs=1))
    first, _ = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    net = Net(trained(epochs=1).shape)
    with pytest.raises(BadInput, match="another seed"):
        resume(Fit(net, torch.optim.AdamW(net.parameters())), first, {"seed": 9})


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_serving_computes_what_torch_does(aggregation: str) -> None:
    from gnn.net import weights_of
    from gnn.train import _begin, _checked, _given, margins

    gnn = network(aggregation, dense=3)
    rows, labels, features, _ = _checked(H, ROWS, LABELS, FEATURES, None)
    given = _given(H, gnn.schema, replay(H, gnn.schema), rows, labels, features, None, Options(aggregation=aggregation))
    net = _begin(given, Options(), 7, torch.device("cpu")).net
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    served = replace(gnn, shape=given.shape, weights=weights_of(net))
    ours, theirs = served.margins(H, rows, features), margins(net, given, rows, torch.device("cpu"))
    assert np.abs(ours - theirs).max() < 1e-5
    assert theirs.std() > 0.01


def test_what_it_learns_is_the_pattern() -> None:
    from sklearn.metrics import roc_auc_score

    gnn = trained(epochs=8)
    late = np.quantile(ROWS, 0.7) < ROWS
    assert roc_auc_score(LABELS[late], gnn.margins(H, ROWS, FEATURES)[late]) > 0.7


def test_labels_that_cannot_be_learnt_from_are_refused() -> None:
    from gnn.train import fit

    with pytest.raises(BadInput, match="not 0 and 1"):
        fit(H, ROWS, np.zeros(len(ROWS)), seed=0)
    with pytest.raises(BadInput, match="one row of features"):
        fit(H, ROWS, LABELS, FEATURES[:-1], seed=0)
