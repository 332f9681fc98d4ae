"""The graph network of a model: it learns what to add to what the trees say, and joins them if that is worth anything.

The same four blocks of time as those of the trees: a network of the second block scores the third, one of the second and third scores
the fourth. Each adds to margins of trees that had not seen the rows, and its labels are as of the embeddings' marks; labels known since
a block began are hidden. The view without labels takes the network in if the last block says so, by weights that the third was fitted
for: with it less must be lost there, by more than the standard error, each of both shifted to as many frauds as there are. Then all
blocks but the first train the one that serves. The view with labels stays without: what comes of it there no block of the training part
can judge (docs/adr/0016-learned-models.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gnn.network import Gnn
from gnn.options import USUAL, Options
from gnn.records import Replay
from gnn.replay import replay
from gnn.schema import GraphSchema, mark_interval_us
from training.blending import blend
from training.graph import Graph
from training.table import Table

BLOCKS = 4
WITHOUT_TORCH = "without the graph network: torch is not installed"
_LEAST_OF_EACH = 8
"""Labels of good and of fraud in a block."""
Margins = NDArray[np.float64]
Progress = Callable[[float, str], None]


def cuts_of(n: int) -> list[int]:
    """Where the blocks of n rows begin, and where the last ends."""
    return [n * k // BLOCKS for k in range(BLOCKS + 1)]


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
    """Labelled rows in order of time: `place` in the history, labels, `cuts` between blocks, and for each view margins of trees (rows of
    all blocks but the first, families), each by trees of the blocks before its own."""

    place: NDArray[np.int64]
    y: NDArray[np.int8]
    cuts: list[int]
    trees: tuple[Margins, Margins] | None = None
    """None where a network adds to nothing."""

    def blocks(self, first: int, last: int) -> slice:
        return slice(self.cuts[first], self.cuts[last + 1])

    def of_trees(self, view: int, first: int, last: int) -> Margins:
        assert self.trees is not None
        return self.trees[view][self.cuts[first] - self.cuts[1] : self.cuts[last + 1] - self.cuts[1]]


def join(
    graph: Graph, rows: Rows, seed: int, options: Options = USUAL, progress: Progress = lambda share, words: None
) -> Joined:
    """At most three networks are trained; none where a block has too few labels of a sort to learn from or to judge by."""
    least = min(int(np.bincount(rows.y[rows.blocks(k, k)], minlength=2).min()) for k in range(1, BLOCKS))
    if least < _LEAST_OF_EACH:
        few = f"left out: a quarter of the labels has {least} of a sort, {_LEAST_OF_EACH} are needed"
        return Joined(None, (None, None), (few, few))
    fits = Fits(graph, rows, seed, options)
    found: list[Margins] = []
    for last in (1, 2):
        progress((last - 1) / 3, f"graph network {last} of 3")
        found.append(fits.score(fits.fit(1, last), last + 1, hidden=True))
    gained = gain(rows, 1, *found)
    progress(2 / 3, "graph network 3 of 3")
    words = ("left out: labels tell", str(gained))
    if not gained.kept:
        return Joined(None, (None, None), words)
    return Joined(fits.fit(1, BLOCKS - 1), (None, np.concatenate(found)), words)


class Gain(NamedTuple):
    """By how much the log-loss of the last block falls, and whether that is more than its standard error."""

    log_loss: float
    kept: bool

    def __str__(self) -> str:
        return f"{'' if self.kept else 'left out: '}log-loss of the last block {-self.log_loss:+.5f}"


def gain(rows: Rows, view: int, middle: Margins, last: Margins) -> Gain:
    """By what is said of the last two blocks, where the weights are fitted on the first of them."""
    y = rows.y[rows.blocks(3, 3)]
    losses = []
    for network in (True, False):
        one, other = (
            np.column_stack([rows.of_trees(view, k, k), *([of] if network else [])])
            for k, of in ((2, middle), (3, last))
        )
        z = blend(one, rows.y[rows.blocks(2, 2)]).of(other)
        z += _shift(z, y)
        losses.append(np.logaddexp(0.0, z) - y * z)
    less = losses[1] - losses[0]
    return Gain(float(less.mean()), bool(less.mean() > less.std() / np.sqrt(len(less))))


def _shift(z: Margins, y: NDArray[np.int8]) -> float:
    """What to add to log-odds so that they are right on the average: how many frauds there are is nobody's merit."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if (1.0 / (1.0 + np.exp(-z - middle))).mean() > y.mean() else (middle, high)
    return 0.5 * (low + high)


class Fits:
    """Networks of one history, which is replayed once."""

    def __init__(self, graph: Graph, rows: Rows, seed: int, options: Options) -> None:
        h, self._rows, self._seed, self._options = graph.history, rows, seed, options
        past = h.events.at_us[: rows.place.max() + 1]
        self._schema = GraphSchema(h.kinds, h.crowded, mark_interval_us(past))
        self._history = h
        self._replay: Replay = replay(h, self._schema, since=int(rows.place.min()))

    def fit(self, first: int, last: int) -> Gnn:
        """Of blocks `first` to `last`, to add to the trees' blend as these blocks have it."""
        from gnn.train import fit

        rows, some = self._rows, self._rows.blocks(first, last)
        told, untold = (self._blended(view, first, last) for view in (0, 1))
        return fit(
            self._history, rows.place[some], rows.y[some], seed=self._seed, offset=told, hidden_offset=untold,
            valid=np.zeros(0, np.int64), options=self._options, schema=self._schema, done=self._replay,
        )  # fmt: skip

    def score(self, gnn: Gnn, block: int, *, hidden: bool) -> Margins:
        """Of a block; `hidden`: as if no label had been told since it began."""
        place, done, h = self._rows.place[self._rows.blocks(block, block)], self._replay, self._history
        if hidden:
            before = h.until(int(place.max()) + 1, int(h.events.at_us[place[0]]))
            done = replay(before, self._schema, since=int(place.min()))
        return gnn.margins(h, place, done=done)

    def _blended(self, view: int, first: int, last: int) -> Margins | None:
        if self._rows.trees is None:
            return None
        trees = self._rows.of_trees(view, first, last)
        return blend(trees, self._rows.y[self._rows.blocks(first, last)]).of(trees)


def margins(gnn: Gnn, graph: Graph, rows: NDArray[np.int64]) -> Margins:
    """Of rows of the source, (n,) to (n,)."""
    place = graph.place[rows]
    done = replay(graph.history, gnn.schema, since=int(place.min(initial=0)))
    return gnn.margins(graph.history, place, done=done)


def alone(graph: Graph, table: Table, seed: int, options: Options = USUAL) -> tuple[Gnn, Margins, NDArray[np.int8]]:
    """A network that adds to nothing, of the labelled rows of a table; and margins and labels of the last block, by one of the blocks
    before. Raises TooFewLabels."""
    table = table.where(table.labelled())
    rows = Rows(graph.place[table.row], table.label, cuts_of(len(table)))
    fits = Fits(graph, rows, seed, options)
    before = fits.fit(0, BLOCKS - 2)
    return fits.fit(0, BLOCKS - 1), fits.score(before, BLOCKS - 1, hidden=False), rows.y[rows.blocks(3, 3)]
