"""How long nothing was heard of fraud: time since the newest confirmed fraud that any entity of the stream so far knew of.

Where labels have stopped coming, rates and runs of labels stand still and mislead a model that was trained while they came.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.model import MICROSECONDS


class Silence:
    """Fed with features in order; how batches are cut changes nothing."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._columns = [schema.index[f"{kind.name}.fraud_label_age_s"] for kind in schema.kinds]
        self.heard_s = -np.inf
        """When the newest confirmed fraud became known, seconds since 1970; -inf before the first."""

    def take(self, at_us: NDArray[np.int64], features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Seconds for events in order, (n,) and (n, schema.size) to (n,); infinite before the first fraud."""
        at_s = at_us / MICROSECONDS
        ages = features[:, self._columns].astype(np.float64)
        newest = np.where(np.isnan(ages), -np.inf, at_s[:, None] - ages).max(axis=1)
        heard = np.maximum.accumulate(np.append(self.heard_s, newest))[1:]
        if len(heard):
            self.heard_s = float(heard[-1])
        return np.maximum(at_s - heard, 0.0)
