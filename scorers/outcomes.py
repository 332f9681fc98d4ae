"""What became of recent events that stood high enough to matter: the labels that a precision or a cost is learned from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringwatch.model import DAY_US
from scorers.alerting import Alerting
from scorers.thresholds import Threshold, account_days, for_costs, for_precision
from scorers.workload import Scale

_KEPT = 20_000
"""Events remembered, the newest; a label of an older one comes too late."""
_LEAST_LABELLED, _LEAST_FRAUDS = 50, 5
"""Account-days with a label before a threshold is set; frauds among them, for costs."""
_COLUMNS = {
    "event": np.uint64,
    "account": np.uint64,
    "at_us": np.int64,
    "score": np.float64,
    "amount": np.float64,
    "label": np.int8,
}


class Outcomes:
    """Of one tenant with a target precision or costs. Labels of events and of users count; of anything else they do not."""

    def __init__(self, alerting: Alerting, fixed: dict[str, float]) -> None:
        self._alerting = alerting
        self.scale = Scale(alerting, fixed)
        self._columns: dict[str, NDArray[Any]] = {name: np.zeros(_KEPT, dtype) for name, dtype in _COLUMNS.items()}
        self._count = 0
        self._place: dict[int, int] = {}
        """Event -> its row."""
        self._set_day = -1
        self.labelled = 0
        """Account-days with a label when the threshold was set last."""
        self.found = Threshold(np.nan, False, np.nan)

    def see(self, event: int, account: int, at_us: int, score: float, amount: float, always: bool) -> None:
        """`event`, `account`: hashes. `always`: an alert at any threshold."""
        edges, ceiling = self.scale.edges, self.scale.ceiling
        edge = int(np.searchsorted(edges, score, side="right")) - 1
        if always:
            edge = max(edge, ceiling)
        if edge < 0:
            return
        row = self._count % _KEPT
        if self._count >= _KEPT:
            self._place.pop(int(self._columns["event"][row]), None)
        self._count += 1
        self._place[event] = row
        for name, value in zip(_COLUMNS, (event, account, at_us, edges[edge], amount, -1), strict=True):
            self._columns[name][row] = value

    def label(self, kind: str, target: int, fraud: bool) -> None:
        if kind == "event" and target in self._place:
            self._columns["label"][self._place[target]] = fraud
        elif kind == "user":
            rows = min(self._count, _KEPT)
            self._columns["label"][:rows][self._columns["account"][:rows] == np.uint64(target)] = fraud

    def threshold(self, mark_us: int) -> float | None:
        """As `Workload.threshold`; looked at anew once a day. None as long as labels are too few, or leave no answer."""
        if mark_us // DAY_US != self._set_day:
            self._set_day = mark_us // DAY_US
            self._learn(mark_us)
        if np.isnan(self.found.value):
            return None
        return float(np.clip(self.found.value, self._alerting.floor, self.scale.edges[self.scale.ceiling]))

    def _learn(self, mark_us: int) -> None:
        rows = min(self._count, _KEPT)
        at_us, label = self._columns["at_us"][:rows], self._columns["label"][:rows].copy()
        if self._alerting.good_after_days is not None:
            label[(label < 0) & (at_us <= mark_us - self._alerting.good_after_days * DAY_US)] = 0
        known = label >= 0
        account, score, amount = (self._columns[name][:rows][known] for name in ("account", "score", "amount"))
        units = account_days(account, at_us[known], score, label[known], amount)
        self.labelled = len(units.label)
        if self.labelled < _LEAST_LABELLED:
            return
        if self._alerting.costs is not None:
            if int(units.label.sum()) >= _LEAST_FRAUDS:
                prob = units.label.astype(np.float64)
                self.found = for_costs(units.score, prob, units.amount, self._alerting.costs)
        elif self._alerting.precision is not None:
            self.found = for_precision(units.score, units.label, self._alerting.precision, self._alerting.confidence)

    def dump(self) -> dict[str, NDArray[Any]]:
        rows = min(self._count, _KEPT)
        return {
            "edges": self.scale.edges,
            **{name: column[:rows].copy() for name, column in self._columns.items()},
            "counts": np.array([self._count, self._set_day, self.labelled], np.int64),
            "found": np.array([self.found.value, self.found.reached, self.found.expected], np.float64),
        }

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """As `Workload.load`."""
        if not np.array_equal(arrays.get("edges", np.zeros(0)), self.scale.edges) or "label" not in arrays:
            return
        self._count, self._set_day, self.labelled = (int(v) for v in arrays["counts"])
        for name, column in self._columns.items():
            column[: len(arrays[name])] = arrays[name]
        value, reached, expected = (float(v) for v in arrays["found"])
        self.found = Threshold(value, bool(reached), expected)
        rows = range(min(self._count, _KEPT))
        oldest_first = sorted(rows, key=lambda row: (row - self._count) % _KEPT) if self._count >= _KEPT else rows
        self._place = {int(self._columns["event"][row]): row for row in oldest_first}
