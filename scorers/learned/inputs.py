"""What learned models look at: features, scores of the other scorers, and what is derived from features.

Derived are shares of volume (log1p of a count or sum of one entity of the event less that of another, per window) and the mean amount
of an entity per window (log1p of sum over count). Sums of money themselves are left out: they tell when and how large rather than how
unlike, and models that split on them did worse later in time (docs/adr/0016-learned-models.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from features.schema import OF_LABELS
from ringwatch.errors import Corrupt

_FEATURE, _SCORER, _SHARE, _MEAN = 0, 1, 2, 3
_COUNTS = tuple(f"count_{w}" for w in ("1h", "24h", "7d", "30d", "all"))
_SUMS = tuple(f"amount_{w}_minor" for w in ("1h", "24h", "7d", "30d"))
_SCORED = "scorer."
LEARNED, CHALLENGER = MODELS = ("learned", "challenger")
NETWORKS = ("network", "challenger_network")
"""What their graph networks say, where they were asked."""
OF_MODELS = (*MODELS, *NETWORKS)
"""All of it stands beside the scores under these names; it is no input of a model."""
SAID = ("listed", "rules")
"""What people decided: it goes on top of what a model says."""
_TOLD = ("behaviour_isolation", "neighbourhood")
"""Scorers that look at labels."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Columns of a model, by name: `user.gap_s` a feature, `scorer.velocity` a score, `user/device.count_24h` a share,
    `user.mean_24h` a mean. Equal names give equal values wherever there is what they are made of."""

    names: tuple[str, ...]
    code: NDArray[np.int64]
    """(m, 3): how each is made, and of which one or two columns."""

    @classmethod
    def candidates(cls, features: Sequence[str], scorers: Sequence[str]) -> Inputs:
        """Everything there is to choose from, of features and scorers by name."""
        kinds = [name.partition(".")[0] for name in features if name.endswith(f".{_COUNTS[0]}")]
        sums = {f"{kind}.{name}" for kind in kinds for name in _SUMS}
        names = [name for name in features if name not in sums]
        names += [f"{_SCORED}{name}" for name in scorers if name not in (*SAID, *OF_MODELS)]
        names += [f"{one}/{other}.{name}" for one, other in combinations(kinds, 2) for name in (*_COUNTS, *_SUMS)]
        names += [f"{kind}.{_mean_name(name)}" for kind in kinds for name in _SUMS]
        return cls.of(names, features, scorers)

    @classmethod
    def of(cls, names: Sequence[str], features: Sequence[str], scorers: Sequence[str]) -> Inputs:
        """Raises Corrupt for a name that these features and scorers cannot make."""
        index = {name: i for i, name in enumerate(features)}
        places = {f"{_SCORED}{name}": i for i, name in enumerate(scorers)}
        return cls(tuple(names), np.array([_made(name, index, places) for name in names], np.int64).reshape(-1, 3))

    def select(self, kept: Sequence[int] | NDArray[np.int64]) -> Inputs:
        kept = np.asarray(kept, np.int64)
        return Inputs(tuple(self.names[i] for i in kept), self.code[kept])

    def __len__(self) -> int:
        return len(self.names)

    def values(self, features: NDArray[np.float32], scores: NDArray[np.float64]) -> NDArray[np.float32]:
        """float32 (n, m) of features (n, features) and scores (n, scorers), NaN where something is missing; the same bits for any
        batch size."""
        found = np.empty((len(features), len(self)), np.float32)
        _fill(features, scores, self.code, found)
        return found


def _mean_name(total: str) -> str:
    """`amount_24h_minor` -> `mean_24h`."""
    return f"mean_{total.split('_')[1]}"


_MEANS = {_mean_name(name): (name, f"count_{name.split('_')[1]}") for name in _SUMS}


def derived_from(name: str) -> bool:
    """Whether shares and means are made of this feature: it must be there even where it never varies."""
    return name.partition(".")[2] in (*_COUNTS, *_SUMS)


def of_labels(name: str) -> bool:
    """Whether an input depends on what labels said before."""
    owner, _, rest = name.partition(".")
    return rest in OF_LABELS or (owner == "scorer" and rest in _TOLD)


def of_neighbours(name: str) -> bool:
    """Whether an input looks beyond the event and its user's own history: at other entities, links, rings, labels."""
    owner, _, rest = name.partition(".")
    linked = any(word in rest for word in ("neighbour", "link", "top_share"))
    return owner not in ("event", "user", "scorer") or linked or of_labels(name)


def _made(name: str, features: dict[str, int], scorers: dict[str, int]) -> tuple[int, int, int]:
    if name in features:
        return _FEATURE, features[name], 0
    if name in scorers:
        return _SCORER, scorers[name], 0
    owner, _, rest = name.partition(".")
    one, _, other = owner.partition("/")
    total, count = _MEANS.get(rest, ("", ""))
    parts = (f"{one}.{rest}", f"{other}.{rest}") if other else (f"{one}.{total}", f"{one}.{count}")
    if not all(part in features for part in parts):
        hint = "train it with this version and these kinds"
        raise Corrupt(f"the model looks at {name!r}, which cannot be made here", hint=hint)
    return _SHARE if other else _MEAN, features[parts[0]], features[parts[1]]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _fill(features: Any, scores: Any, code: Any, out: Any) -> None:
    for row in range(out.shape[0]):
        for j in range(out.shape[1]):
            made, a, b = code[j, 0], code[j, 1], code[j, 2]
            if made == 0:
                out[row, j] = features[row, a]
            elif made == 1:
                out[row, j] = np.float32(scores[row, a])
            else:
                one, other = np.float64(features[row, a]), np.float64(features[row, b])
                out[row, j] = np.float32(np.log1p(one) - np.log1p(other) if made == 2 else np.log1p(one / other))
