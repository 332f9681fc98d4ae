"""Isolation Forest over the feature vector, refitted on the stream at marks of event time."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringwatch.errors import BadInput, Corrupt
from ringwatch.model import DAY_US, HOUR_US
from scorers.forest import Forest, fit
from scorers.scorer import Batch, Finding
from scorers.settings import thresholds
from scorers.signals import strength


@dataclass(frozen=True, slots=True)
class Thresholds:
    refit_days: float = 1.0
    """Event time between fits; marks are whole multiples since 1970."""
    delay_h: float = 1.0
    """Event time from a mark to the use of what was fitted there."""
    sample_rows: float = 4096.0
    one_in: float = 4.0
    """One event in so many is a candidate for the sample (by a hash of its id)."""
    least_rows: float = 500.0
    renewed: float = 1.0
    """Share of the sample that must be new since the last fit before another is worth its time."""
    top: float = 0.4


class BehaviourIsolation:
    """How easily the event's whole feature vector is told from the recent ones (Isolation Forest): strange
    combinations that no single threshold catches. Learns on the stream, without labels; refitted at most once a day of
    event time on a sample of recent events, when all of it is new; in use an hour later. Abstains until it has seen
    enough events."""

    name = "behaviour_isolation"
    version = "1"

    def __init__(self, t: Thresholds) -> None:
        self._t = t
        self._every_us = int(t.refit_days * DAY_US)
        self._delay_us = int(t.delay_h * HOUR_US)
        self._size = int(t.sample_rows)
        self._rows: NDArray[np.float32] | None = None
        self._seen = 0
        self._fitted = 0
        self._fit_us: int | None = None
        self._use_us = -1
        self._next: Future[Forest | None] | None = None
        """The forest that comes into use at `_use_us`: fitted beside the stream, which waits for it only there."""
        self._sample: tuple[NDArray[np.float32], int] | None = None
        """What it is fitted on: rows and seed, from which it is fitted again after a restart."""
        self._now: Forest | None = None
        self._fitter = ThreadPoolExecutor(1, "isolation-fit")

    @property
    def next_mark_us(self) -> int | None:
        if self._fit_us is None:
            return None
        return min(self._fit_us, self._use_us) if self._next is not None else self._fit_us

    def advance(self, at_us: int) -> None:
        """Called before the first event at or past a mark is scored, and with the first event of all."""
        if self._fit_us is None:
            self._fit_us = (at_us // self._every_us + 1) * self._every_us
            return
        self._use(at_us)
        if at_us >= self._fit_us:
            mark = at_us // self._every_us
            self._fit_us = (mark + 1) * self._every_us
            least = self._t.least_rows if not self._fitted else self._fitted + self._t.renewed * self._size
            if self._rows is not None and self._seen >= least:
                self._fitted = self._seen
                self._fit(self._rows[: min(self._seen, self._size)].copy(), mark % 2**32)
                self._use_us = mark * self._every_us + self._delay_us
                self._use(at_us)

    def _fit(self, sample: NDArray[np.float32], seed: int) -> None:
        self._sample = sample, seed
        self._next = self._fitter.submit(fit, sample, seed=seed)

    def _use(self, at_us: int) -> None:
        if self._next is not None and at_us >= self._use_us:
            self._now, self._next, self._sample = self._next.result() or self._now, None, None

    def learn(self, batch: Batch) -> None:
        one_in = int(self._t.one_in)
        if self._rows is None:
            self._rows = np.full((self._size, batch.features.shape[1]), np.nan, np.float32)
        for i, event in enumerate(batch.events):
            if zlib.crc32(event.event_id.encode()) % one_in == 0:
                self._rows[self._seen % self._size] = batch.features[i]
                self._seen += 1

    def score(self, batch: Batch) -> NDArray[np.float64]:
        if self._now is None:
            return np.full(len(batch), np.nan)
        low, high = self._now.cuts
        return strength(self._now.anomaly(batch.features).astype(np.float64), low, max(high, low + 1e-6), self._t.top)

    def explain(self, batch: Batch, row: int) -> list[Finding]:
        if self._now is None:
            return []
        value = float(self._now.anomaly(batch.features[row : row + 1])[0])
        return [Finding("unlike_recent", f"unlike recent events: isolation {value:.2f}, 95 % lie below "
                        f"{self._now.cuts[0]:.2f}")]  # fmt: skip

    def dump(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {
            "marks": np.array(
                [-1 if self._fit_us is None else self._fit_us, self._use_us, self._seen, self._fitted], np.int64
            )
        }
        if self._rows is not None:
            arrays["rows"] = self._rows[: min(self._seen, self._size)]
            arrays["shape"] = np.array(self._rows.shape)
        if self._sample is not None:
            arrays["sample"], arrays["seed"] = self._sample[0], np.array([self._sample[1]], np.int64)
        if self._now is not None:
            arrays |= {f"now_{name}": array for name, array in self._now.arrays().items()}
        return arrays

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        if any(name.startswith("next_") for name in arrays):
            raise Corrupt("the saved forest is of an earlier version", hint="the ledger is replayed")
        fit_us, self._use_us, self._seen, self._fitted = (int(v) for v in arrays["marks"])
        self._fit_us = None if fit_us < 0 else fit_us
        self._rows = None
        if "rows" in arrays:
            self._rows = np.full(tuple(arrays["shape"]), np.nan, np.float32)
            self._rows[: len(arrays["rows"])] = arrays["rows"]
        forest = {name.removeprefix("now_"): a for name, a in arrays.items() if name.startswith("now_")}
        self._now = Forest(**forest) if forest else None
        self._next = self._sample = None
        if "sample" in arrays:
            self._fit(arrays["sample"], int(arrays["seed"][0]))

    def model(self) -> dict[str, NDArray[Any]]:
        return {} if self._now is None else dict(self._now.arrays())

    def use(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._now = Forest(**arrays)


def build(overrides: Mapping[str, Any]) -> BehaviourIsolation:
    t = thresholds(Thresholds, overrides, "behaviour_isolation")
    for name, least in (("refit_days", 0.01), ("sample_rows", 100.0), ("one_in", 1.0), ("renewed", 0.01)):
        if getattr(t, name) < least:
            raise BadInput(f"threshold behaviour_isolation.{name} is {getattr(t, name)}", hint=f"at least {least:g}")
    return BehaviourIsolation(t)
