"""The graph network of a model: it learns alone, and joins the trees where they are the better for it.

The same four blocks of time as those of the trees (`training/blocks.py`): a network of the first two blocks scores the third, one of the
first three scores the fourth, and that block says after how many epochs training ends. For the inputs without labels a block is scored as if
no label had been told since it began. The trees of a view are joined by it if these two blocks lose less with it, each by weights fitted on
the other and shifted to as many frauds as there are. Then all blocks train the one that serves.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gnn.network import Gnn
from gnn.options import USUAL, Options
from gnn.records import Replay
from gnn.replay import replay
from gnn.schema import GraphSchema, mark_interval_us
from training.blending import blend
from training.blocks import BLOCKS, Blocks
from training.graph import Graph
from training.table import Table

WITHOUT_TORCH = "without the graph network: torch is not installed"
_LEAST_OF_EACH = 8
"""Labels of good and of fraud in a block."""
Margins = NDArray[np.float64]
Progress = Callable[[float, str], None]


def there() -> bool:
    """Whether networks can be trained in this installation."""
    from importlib.util import find_spec

    return find_spec("torch") is not None and find_spec("torch_geometric") is not None


@dataclass(frozen=True, slots=True)
class Joined:
    """What became of the network: for each of two views its out-of-fold margins of the last two blocks, None where it stays out."""

    gnn: Gnn | None
    margins: tuple[Margins | None, Margins | None]
    words: tuple[str, str]
    """For each view what the last block said."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Labelled rows in order of time, each (n,): `place` in the history, and for how many rows each stands."""

    place: NDArray[np.int64]
    weight: NDArray[np.int64]
    blocks: Blocks

    @property
    def y(self) -> NDArray[np.int8]:
        return self.blocks.y

    def all(self) -> NDArray[np.int64]:
        return np.arange(len(self.place))


def join(
    graph: Graph, rows: Rows, trees: tuple[Margins, Margins], seed: int, options: Options = USUAL, state: Path | None = None,
    progress: Progress = lambda share, words: None,
) -> Joined:  # fmt: skip
    """`trees`: of each view, margins of the last two blocks (rows, families) by trees of the blocks before each. Three networks are trained,
    two where neither view takes it in; none where a block has too few labels of a sort to learn from or to judge by. `state`: see
    `gnn.train.fit`."""
    least = min(int(np.bincount(rows.y[rows.blocks[k]], minlength=2).min()) for k in range(BLOCKS))
    if least < _LEAST_OF_EACH:
        few = f"left out: a quarter of the labels has {least} of a sort, {_LEAST_OF_EACH} are needed"
        return Joined(None, (None, None), (few, few))
    fits = Fits(graph, rows, seed, options, state, progress)
    found: tuple[list[Margins], list[Margins]] = ([], [])
    judged = fits.judged()
    early = fits.fit(rows.blocks.before(2), judged.card["best_epoch"])
    for block, before in ((2, early), (3, judged)):
        for view, hidden in enumerate((False, True)):
            found[view].append(fits.score(before, block, hidden=hidden))
    out = [np.concatenate(blocks) for blocks in found]
    gained = [gain(rows, of_trees, network) for of_trees, network in zip(trees, out, strict=True)]
    words = (str(gained[0]), str(gained[1]))
    if not any(one.kept for one in gained):
        return Joined(None, (None, None), words)
    told, untold = (network if one.kept else None for one, network in zip(gained, out, strict=True))
    return Joined(fits.fit(rows.all(), judged.card["best_epoch"]), (told, untold), words)


class Gain(NamedTuple):
    """By how much the log-loss of the last two blocks falls."""

    log_loss: float

    @property
    def kept(self) -> bool:
        return self.log_loss > 0.0

    def __str__(self) -> str:
        return f"{'' if self.kept else 'left out: '}log-loss out of fold {-self.log_loss:+.5f}"


def gain(rows: Rows, trees: Margins, network: Margins) -> Gain:
    """By margins of the last two blocks, of trees (rows, families) and a network (rows,); each block by weights fitted on the other."""
    later = rows.blocks.since(2)
    y, weight = rows.y[later], rows.weight[later]
    cut = rows.blocks[2].stop - later.start
    third, last = slice(0, cut), slice(cut, len(y))
    less = np.empty(len(y))
    for fitted, judged in ((third, last), (last, third)):
        losses = []
        for members in (trees, np.column_stack([trees, network])):
            z = blend(members[fitted], y[fitted], weight[fitted]).of(members[judged])
            z += _shift(z, y[judged], weight[judged])
            losses.append(np.logaddexp(0.0, z) - y[judged] * z)
        less[judged] = losses[0] - losses[1]
    return Gain(float(np.average(less, weights=weight)))


def _shift(z: Margins, y: NDArray[np.int8], weight: NDArray[np.int64]) -> float:
    """What to add to log-odds so that they are right on the average: how many frauds there are is nobody's merit."""
    low, high, frauds = -20.0, 20.0, np.average(y, weights=weight)
    for _ in range(60):
        middle = 0.5 * (low + high)
        many = np.average(1.0 / (1.0 + np.exp(-z - middle)), weights=weight)
        low, high = (low, middle) if many > frauds else (middle, high)
    return 0.5 * (low + high)


class Fits:
    """Networks of one history, which is replayed once."""

    def __init__(
        self, graph: Graph, rows: Rows, seed: int, options: Options, state: Path | None = None,
        progress: Progress = lambda share, words: None,
    ) -> None:  # fmt: skip
        """`progress`: of three fits."""
        h, self._rows, self._seed, self._options, self._state = graph.history, rows, seed, options, state
        self._fitted, self._progress = 0, progress
        past = h.events.at_us[: rows.place.max() + 1]
        self._schema = GraphSchema(h.kinds, h.crowded, mark_interval_us(past))
        self._history = h
        self._replay: Replay = replay(h, self._schema, since=int(rows.place.min()))

    def judged(self) -> Gnn:
        """Of the blocks before the last, which chooses the epoch."""
        blocks = self._rows.blocks
        last = self._rows.all()[blocks[BLOCKS - 1]]
        return self._fit(np.append(blocks.before(BLOCKS - 1), last), self._rows.place[last], self._options)

    def fit(self, some: NDArray[np.int64], epochs: int) -> Gnn:
        """Of some of the rows."""
        return self._fit(some, np.zeros(0, np.int64), replace(self._options, epochs=epochs))

    def _fit(self, some: NDArray[np.int64], valid: NDArray[np.int64], options: Options) -> Gnn:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of PyTorch Geometric's own code, when it is imported
            from gnn.train import fit
        rows, before = self._rows, self._fitted
        self._fitted += 1

        def after(done: int, most: int, _: float) -> None:
            self._progress((before + done / most) / 3, f"graph network {before + 1} of 3, epoch {done}")

        self._progress(before / 3, f"graph network {before + 1} of 3")
        return fit(
            self._history, rows.place[some], rows.y[some], seed=self._seed, valid=valid, options=options, progress=after, state=self._state,
            schema=self._schema, done=self._replay,
        )  # fmt: skip

    def score(self, gnn: Gnn, block: int, *, hidden: bool) -> Margins:
        """Of a block; `hidden`: as if no label had been told since it began."""
        place, done, h = self._rows.place[self._rows.blocks[block]], self._replay, self._history
        if hidden:
            before = h.until(int(place.max()) + 1, int(h.events.at_us[place[0]]))
            done = replay(before, self._schema, since=int(place.min()))
        return gnn.margins(h, place, done=done)


def margins(gnn: Gnn, graph: Graph, rows: NDArray[np.int64]) -> Margins:
    """Of rows of the source, (n,) to (n,)."""
    place = graph.place[rows]
    done = replay(graph.history, gnn.schema, since=int(place.min(initial=0)))
    return gnn.margins(graph.history, place, done=done)


def alone(graph: Graph, table: Table, seed: int, options: Options = USUAL) -> tuple[Gnn, Margins, NDArray[np.int8]]:
    """A network of the labelled rows of a table; and margins and labels of the last block, by one of the blocks before. Raises TooFewLabels."""
    table = table.where(table.labelled())
    rows = Rows(graph.place[table.row], np.ones(len(table), np.int64), table.blocks(np.arange(len(table))))
    fits = Fits(graph, rows, seed, options)
    judged = fits.judged()
    gnn = fits.fit(rows.all(), judged.card["best_epoch"])
    return gnn, fits.score(judged, BLOCKS - 1, hidden=False), rows.y[rows.blocks[BLOCKS - 1]]
