"""Blocks of training: nothing teaches that nobody knew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.models import table

from ringwatch.model import DAY_US
from training import fit
from training.blocks import BLOCKS, Blocks

N = 400
AT = np.arange(N) * DAY_US
Y = (np.arange(N) % 10 == 0).astype(np.int8)


def test_labels_known_when_a_block_begins_teach_what_is_judged_on_it() -> None:
    blocks = Blocks(Y, AT, AT + 20 * DAY_US)
    assert blocks.before(2).tolist() == list(range(181))
    assert blocks.before(3).tolist() == list(range(281))
    assert not blocks.late
    assert [len(Y[blocks[k]]) for k in range(BLOCKS)] == [100] * 4
    assert blocks.since(2) == slice(200, N)


def test_labels_known_at_once_all_teach() -> None:
    blocks = Blocks(Y, AT, AT)
    assert blocks.before(3).tolist() == list(range(300))


def test_where_too_few_were_known_all_teach_and_that_is_said() -> None:
    """Of the frauds or of the good ones."""
    fraud = Y == 1
    for late in (fraud, ~fraud, np.ones(N, np.bool_)):
        blocks = Blocks(Y, AT, AT + np.where(late, 150, 0) * DAY_US)
        assert len(blocks.before(2)) == 200
        assert blocks.late


def test_a_label_that_nobody_knew_does_not_teach(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted leak: a label of the block before that came when the judged block had begun. Models are told how many rows they learn
    from: of those before, none whose label was not known."""
    taught: list[int] = []
    grow = fit.fit

    def counted(x: Any, y: Any, *rest: Any) -> Any:
        taught.append(len(y))
        return grow(x, y, *rest)

    monkeypatch.setattr(fit, "fit", counted)
    shop = table(1)
    late = replace(shop, known_us=shop.at_us + 2 * DAY_US)
    blocks = late.blocks(late.labelled())
    fit.learn(late, seed=1)
    early, judged = len(blocks.before(2)), len(blocks.before(3))
    assert early < len(shop) // 2
    assert judged < len(shop) * 3 // 4
    assert set(taught) == {early, judged, len(shop)}
