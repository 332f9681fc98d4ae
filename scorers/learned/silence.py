"""How long nothing was heard of fraud: time since the newest confirmed fraud that any entity of the stream so far knew of.

Where labels have stopped coming, rates and runs of labels stand still and mislead a model that was trained while they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numba
import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.model import HOUR_US, MICROSECONDS, Event

_TOLD_S = HOUR_US / MICROSECONDS


class Silence:
    """Fed with features in order; how batches are cut changes nothing."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._columns = np.array([schema.index[f"{kind.name}.fraud_label_age_s"] for kind in schema.kinds], np.int64)
        self.heard_s = -np.inf
        """When the newest confirmed fraud became known, seconds since 1970; -inf before the first."""

    def take(self, at_us: NDArray[np.int64], features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Seconds for events in order, (n,) and (n, schema.size) to (n,); infinite before the first fraud."""
        silent_s, self.heard_s = self._listen(at_us, features)
        return silent_s

    def look(self, at_us: NDArray[np.int64], features: NDArray[np.float32]) -> NDArray[np.float64]:
        """As `take`, and nothing is remembered."""
        return self._listen(at_us, features)[0]

    def _listen(self, at_us: NDArray[np.int64], features: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
        silent_s = np.empty(len(at_us))
        return silent_s, float(_listen(at_us, features, self._columns, self.heard_s, silent_s))


class Silences:
    """One for each tenant: what is heard of one says nothing about labels of another."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._schema = schema
        self._of: dict[str, Silence] = {}

    def take(self, events: Sequence[Event], features: NDArray[np.float32], *, keep: bool) -> NDArray[np.float64]:
        """Seconds for events in order, (n,), of features (n, schema.size). Without `keep` nothing is remembered."""
        at_us = np.array([e.at_us for e in events], np.int64)
        tenants = dict.fromkeys(e.tenant for e in events)
        silent_s = np.empty(len(events))
        for tenant in tenants:
            silence = self._silence(tenant)
            listen = silence.take if keep else silence.look
            if len(tenants) == 1:
                return listen(at_us, features)
            rows = np.flatnonzero([e.tenant == tenant for e in events])
            silent_s[rows] = listen(at_us[rows], features[rows])
        return silent_s

    def _silence(self, tenant: str) -> Silence:
        found = self._of.get(tenant)
        if found is None:
            found = self._of[tenant] = Silence(self._schema)
        return found

    # -- keeping

    def dump(self) -> dict[str, NDArray[Any]]:
        return _packed({name: silence.heard_s for name, silence in self._of.items()})

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._of = {}
        self.use(arrays)

    def model(self) -> dict[str, NDArray[Any]]:
        """For processes that see a part of the events alone: to the full hour, so that it seldom changes; empty before a fraud was heard of."""
        heard = {name: silence.heard_s for name, silence in self._of.items() if np.isfinite(silence.heard_s)}
        return _packed({name: heard_s // _TOLD_S * _TOLD_S for name, heard_s in heard.items()}) if heard else {}

    def use(self, arrays: dict[str, NDArray[Any]]) -> None:
        """What `model` gave elsewhere; the newer of what was heard here and there counts."""
        names = msgspec.json.decode(arrays["names"].tobytes(), type=list[str])
        for name, heard_s in zip(names, arrays["heard_s"].tolist(), strict=True):
            silence = self._silence(name)
            silence.heard_s = max(silence.heard_s, heard_s)


def _packed(heard: dict[str, float]) -> dict[str, NDArray[Any]]:
    names = sorted(heard)
    return {
        "names": np.frombuffer(msgspec.json.encode(names), np.uint8),
        "heard_s": np.array([heard[name] for name in names], np.float64),
    }


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _listen(at_us: Any, features: Any, columns: Any, heard_s: float, out: Any) -> float:
    for row in range(len(at_us)):
        at_s = at_us[row] / 1_000_000
        for column in columns:
            age_s = np.float64(features[row, column])
            if age_s == age_s:
                heard_s = max(heard_s, at_s - age_s)
        out[row] = max(at_s - heard_s, 0.0)
    return heard_s
