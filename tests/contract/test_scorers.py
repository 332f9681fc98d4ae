"""What every discovered scorer promises."""

from __future__ import annotations

import numpy as np
import pytest
from support.streams import stream

from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ringwatch.errors import BadInput
from ringwatch.model import Event
from scorers.registry import build_scorers, detector_names
from scorers.scorer import Batch, Learner, Scorer
from scorers.settings import load_overrides

SCHEMA = FeatureSchema()


@pytest.fixture(scope="module")
def batch() -> Batch:
    items = stream(9, 1200)
    features = MemoryState(SCHEMA, max_entities=5000).apply(items)
    return Batch([i for i in items if isinstance(i, Event)], features, SCHEMA)


def ready(name: str, batch: Batch) -> Scorer:
    """The scorer, having learned if it learns."""
    scorer = next(s for s in build_scorers() if s.name == name)
    if isinstance(scorer, Learner):
        at = min(e.at_us for e in batch.events)
        scorer.advance(at)
        for _ in range(4):
            scorer.learn(batch)
        scorer.advance(at + 90_000_000_000)
        scorer.advance(at + 200_000_000_000)
    return scorer


def cut(batch: Batch, rows: np.ndarray) -> Batch:
    return Batch([batch.events[i] for i in rows], batch.features[rows], batch.schema)


@pytest.mark.parametrize("name", detector_names())
def test_values_reasons_determinism_and_order(name: str, batch: Batch) -> None:
    scorer = ready(name, batch)
    before = batch.features.copy()
    values = scorer.score(batch)
    assert values.shape == (len(batch),)
    assert values.dtype == np.float64
    known = values[~np.isnan(values)]
    assert ((known >= 0.0) & (known <= 1.0)).all()
    assert np.array_equal(batch.features, before, equal_nan=True)
    assert np.array_equal(values, ready(name, batch).score(batch), equal_nan=True)
    for row in np.flatnonzero(values > 0.0)[:50]:
        findings = scorer.explain(batch, int(row))
        assert findings
        assert all(f.text and f.code and f.weight > 0 for f in findings)
    order = np.random.default_rng(1).permutation(len(batch))
    assert np.array_equal(scorer.score(cut(batch, order)), values[order], equal_nan=True)


@pytest.mark.parametrize("name", detector_names())
def test_a_batch_of_n_is_n_batches_of_one(name: str, batch: Batch) -> None:
    scorer = ready(name, batch)
    values = scorer.score(batch)
    for row in range(0, len(batch), 37):
        assert np.array_equal(scorer.score(cut(batch, np.array([row]))), values[row : row + 1], equal_nan=True)


@pytest.mark.parametrize("name", detector_names())
def test_nothing_known_is_no_accusation(name: str, batch: Batch) -> None:
    empty = Batch(batch.events[:20], np.full((20, SCHEMA.size), np.nan, np.float32), SCHEMA)
    if not isinstance(ready(name, batch), Learner):
        assert not (ready(name, batch).score(empty) > 0.0).any()


@pytest.mark.parametrize("name", detector_names())
def test_the_docstring_is_the_analysts_text(name: str) -> None:
    scorer = next(s for s in build_scorers() if s.name == name)
    assert len((type(scorer).__doc__ or "").split()) > 15


def test_overrides_are_checked() -> None:
    with pytest.raises(BadInput, match="did you mean 'neighbourhood'"):
        build_scorers(overrides={"neighborhood": {}})
    with pytest.raises(BadInput, match="no threshold 'shared_24_low'"):
        build_scorers(overrides={"neighbourhood": {"shared_24_low": 3}})
    with pytest.raises(BadInput, match="a number is needed"):
        build_scorers(overrides={"neighbourhood": {"shared_24h_low": "three"}})


def test_overrides_change_what_fires(batch: Batch) -> None:
    (strict,) = (
        s for s in build_scorers(overrides={"neighbourhood": {"shared_24h_low": 0.5}}) if s.name == "neighbourhood"
    )
    (usual,) = (s for s in build_scorers() if s.name == "neighbourhood")
    assert np.nansum(strict.score(batch)) > np.nansum(usual.score(batch))


def test_broken_override_files_are_named(tmp_path) -> None:
    path = tmp_path / "d.toml"
    path.write_text("neighbourhood = 3")
    with pytest.raises(BadInput, match="is not a table"):
        load_overrides(path)
    path.write_text("[x")
    with pytest.raises(BadInput, match=r"d\.toml"):
        load_overrides(path)
    with pytest.raises(BadInput, match="does not exist"):
        load_overrides(tmp_path / "none.toml")
    assert load_overrides(None) == {}
