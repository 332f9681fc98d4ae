"""What a graph network had said of one event without some of the links that it saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from explain.changes import Gone
from gnn.kept import unpack
from gnn.network import Gnn
from gnn.removal import Link, margins_without
from scorers.learned.model import probability


class AskedAgain:
    """Of what was kept with a decision (`gnn.kept.pack`). Raises Corrupt."""

    def __init__(self, gnn: Gnn, packed: bytes) -> None:
        self._gnn = gnn
        self._hood, met_key = unpack(packed, gnn)
        self._links: dict[tuple[str, int | None], list[Link]] = {}
        for k, kind in enumerate(gnn.schema.kinds):
            self._links[kind, None] = [Link(k, -1)]
            for p in np.flatnonzero(self._hood.met_kind[k] >= 0).tolist():
                self._links.setdefault((kind, int(met_key[k, p])), []).append(Link(k, p))

    def saw(self, gone: Gone) -> Gone:
        """Those of the links that it saw."""
        return gone.intersection(self._links)

    def without(self, gone: Sequence[Gone]) -> NDArray[np.float64]:
        """Probabilities of fraud, one for each set of links that it saw."""
        removals = [{link for one in some for link in self._links[one]} for some in gone]
        return probability(margins_without(self._gnn, self._hood, removals, named=False))
