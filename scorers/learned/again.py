"""What models said of decisions from before, made anew from what was stored with each: features, scores, versions, what was degraded.

Nothing of today is looked at but the models themselves, which never change; so the numbers are those of then, to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ringwatch.errors import Corrupt
from scorers.decision import Decisions
from scorers.learned.book import CHALLENGER_UNUSABLE, LABELS_STALE, NONE, UNUSABLE
from scorers.learned.inputs import CHALLENGER, LEARNED, MODELS, NETWORKS, OF_MODELS
from scorers.learned.model import Evaluator, margin_of, probability
from scorers.learned.model_file import load
from scorers.learned.shelf import Shelf

_PREFIX = {LEARNED: "", CHALLENGER: "challenger:"}
_UNUSABLE = {LEARNED: UNUSABLE, CHALLENGER: CHALLENGER_UNUSABLE}


def again(made: Decisions, shelf: Shelf) -> NDArray[np.float64]:
    """Probabilities by champion and challenger of then, float64 (n, 2), NaN where there was none. Raises NotFound, Corrupt for models that
    are gone or are others."""
    names = [name for name in made.scorer_names if name not in OF_MODELS]
    scores = made.scores_of(names)
    found = np.full((len(made), len(MODELS)), np.nan)
    for column, (name, network) in enumerate(zip(MODELS, NETWORKS, strict=True)):
        margin = margin_of(made.scores_of([network])[:, 0])
        asked = np.array([v.scorers.get(name, NONE) for v in made.versions])
        had = np.array([_UNUSABLE[name] not in codes for codes in made.degraded], np.bool_)
        stale = np.array([f"{_PREFIX[name]}{LABELS_STALE}" in codes for codes in made.degraded], np.bool_)
        for id_ in sorted(set(asked.tolist()) - {NONE}):
            rows = np.flatnonzero((asked == id_) & had)
            evaluator = _evaluator(shelf, id_, made, names)
            silence_s = np.where(stale[rows], np.inf, 0.0)
            found[rows, column] = probability(
                evaluator.margin(made.features[rows], scores[rows], silence_s, margin[rows])
            )
    return found


def _evaluator(shelf: Shelf, id_: str, made: Decisions, names: Sequence[str]) -> Evaluator:
    placed = shelf.placed(id_.rpartition(".")[0])
    if placed.id != id_:
        raise Corrupt(f"{shelf.folder} has {placed.id}, not the model {id_}", hint="restore the folder of models")
    model, _ = load(shelf.model(placed), schema=made.schema.hash)
    return Evaluator(model, made.schema.names, names)
