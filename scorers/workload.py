"""Work that alerts make, counted on the stream for every threshold at once, and the threshold that keeps it within a budget.

What is counted is a piece of work: a ring (where a pattern named it), else an account, else the event, from its first event over the
threshold until the window of its alert has passed without another. So alerts are grouped here (`ledger/alerting.py`), but for what is only known
of explained events, the reason: an account with two reasons in a day is two alerts and one piece of work here, accounts
that share something the reason names are one alert and several here.

The counts are a histogram over fixed scores, of the highest score of each piece of work; days that are over fade. A threshold
is set at each mark so that the work expected is what the budget leaves of the next day, half of it at least, after what lies
about undone has been done: the estimate is fed forward, the error fed back (as conformal PID control does for quantiles: Angelopoulos,
Candès, Tibshirani, NeurIPS 2023). Work undone carries over; minutes nobody needed do not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ringwatch.model import DAY_US, Level
from scorers.alerting import LEVELS, Alerting

_GRID = np.unique(np.round(1.0 / (1.0 + np.exp(-np.linspace(-9.2, 9.2, 461))), 6))
"""Thresholds that are tried: even steps of the log odds of 0.04, so that both noisy-or and small probabilities are told apart."""
_FADES = 0.5 ** (1.0 / 4.0)
"""What a day counts a day later: half after four."""
_LEAST_DAYS = 1.0
"""Of the stream, before a threshold is set at all."""
_LEAST_LEFT = 0.5
"""Of a day's budget, for new work, however much lies undone."""
_MOST_UNDONE = 2.0
"""Days' budgets that are carried over; what is more is not held against new work."""
_MOST_OPEN = 50_000
"""Pieces of work remembered; any more are counted event by event, which is too many rather than too few."""


class Seen(NamedTuple):
    """An event that may be work."""

    piece: int
    """Hash of the ring, account or event it is work on."""
    at_us: int
    until_us: int
    """Until when an event joins this piece of work."""
    score: float
    always: bool
    """An alert at any threshold: a pattern named, a list, a rule that acts."""
    level: int
    """As decided."""


class Scale:
    """The scores told apart: from the floor up, the fixed levels among them. `always` stands just below where every score alerts."""

    def __init__(self, alerting: Alerting, fixed: dict[str, float]) -> None:
        self.floor = alerting.floor
        floor, ceiling = alerting.floor, fixed[alerting.always]
        marks = np.append(_GRID, [floor, *(fixed[name] for name in LEVELS)])
        self.edges: NDArray[np.float64] = np.unique(marks[marks >= floor])
        self.ceiling = int(np.searchsorted(self.edges, ceiling))
        moved = LEVELS.index(alerting.level)
        thresholds = [fixed[name] for name in LEVELS]
        of_edge = np.maximum(np.searchsorted(thresholds, self.edges, side="right") - 1, moved)
        work = np.array([0.0 if alerting.budget is None else alerting.budget.of_level(name) for name in LEVELS])
        self.level = int(Level[alerting.level])
        self.work_of_level = [0.0] * self.level + [float(w) for w in work[moved:]]
        """By level code, of what is decided so."""
        self.work: NDArray[np.float64] = np.insert(work[of_edge], self.ceiling, work[1])
        """By slot."""

    def work_of(self, score: float) -> float:
        """Of a piece of work with this score, were it alerted."""
        slot = self.slot(score, False)
        return float(self.work[slot]) if slot >= 0 else 0.0

    def slot(self, score: float, always: bool) -> int:
        """Where a score counts; -1 under the floor."""
        edge = int(np.searchsorted(self.edges, score, side="right")) - 1
        if always and edge < self.ceiling:
            return self.ceiling
        return edge + 1 if edge >= self.ceiling else edge


class Workload:
    """Of one tenant with a budget. Its memory is bounded; how events are cut into batches changes nothing."""

    def __init__(self, alerting: Alerting, fixed: dict[str, float]) -> None:
        assert alerting.budget is not None
        self.asked = alerting.budget.per_day
        self.scale = Scale(alerting, fixed)
        slots = len(self.scale.work)
        self._today = np.zeros(slots, np.int64)
        self._past = np.zeros(slots)
        self._past_days = 0.0
        self._day: int | None = None
        self._began_us = 0
        self._seen = False
        """Whether the tenant has had any event today."""
        self._open: dict[int, tuple[int, int, int, int]] = {}
        """Piece of work -> highest slot and until when it is open; level it was alerted with and until when, 0 if it was not."""
        self.spent = 0.0
        """Work of today's alerts."""
        self.undone = 0.0
        """Work of days before that was more than the budget."""
        self.last_day = 0.0
        """Work of the last whole day."""
        self.expected = np.nan
        """Work a day at the threshold set last."""

    @property
    def over_by(self) -> float:
        """By how much the work there is exceeds a day's budget."""
        return max(0.0, self.undone + self.spent - self.asked)

    def pass_by(self, mark_us: int) -> None:
        """The tenant has events after this mark."""
        if self._day is None:
            self._day, self._began_us = mark_us // DAY_US, mark_us
        self._seen = True

    def is_open(self, piece: int, at_us: int) -> bool:
        return piece in self._open and at_us <= max(self._open[piece][1], self._open[piece][3])

    def see(self, seen: Seen) -> None:
        slot = self.scale.slot(seen.score, seen.always)
        if slot < 0:
            return
        top, until_us, level, alerted_until_us = self._open.get(seen.piece, (-1, 0, 0, 0))
        if seen.at_us > until_us:
            top = -1
        if slot > top:
            self._today[slot] += 1
            if top >= 0:
                self._today[top] -= 1
        if seen.at_us > alerted_until_us:
            level = 0
        if seen.level >= self.scale.level:
            work = self.scale.work_of_level
            if seen.level > level:
                self.spent += work[seen.level] - (work[level] if level else 0.0)
            alerted_until_us = max(alerted_until_us, seen.until_us)
            level = max(level, seen.level)
        if seen.piece in self._open or len(self._open) < _MOST_OPEN:
            self._open[seen.piece] = max(slot, top), max(until_us, seen.until_us), level, alerted_until_us

    def threshold(self, mark_us: int) -> float | None:
        """To be set at a mark of event time, from everything before it; None as long as too little was seen."""
        if self._day is None:
            return None
        self._roll(mark_us)
        days = self._past_days + (mark_us - self._began_us) / DAY_US * self._seen
        if days < _LEAST_DAYS:
            return None
        rate = (self._past + self._today) * self.scale.work / days
        at_slot = np.maximum.accumulate(np.cumsum(rate[::-1]))[::-1]
        left = max(_LEAST_LEFT * self.asked, self.asked - self.over_by)
        ceiling = self.scale.ceiling
        within = np.flatnonzero(at_slot[: ceiling + 1] <= left)
        edge = int(within[0]) if len(within) else ceiling
        self.expected = float(at_slot[edge])
        return float(self.scale.edges[edge])

    def _roll(self, mark_us: int) -> None:
        """Close the day if the mark is in another. Days without events say nothing about work, but what lies about is done on them."""
        self._open = {k: v for k, v in self._open.items() if max(v[1], v[3]) >= mark_us - DAY_US}
        day = mark_us // DAY_US
        assert self._day is not None
        if day <= self._day:
            return
        share = ((self._day + 1) * DAY_US - self._began_us) / DAY_US
        if self._seen:
            self._past = self._past * _FADES + self._today
            self._past_days = self._past_days * _FADES + share
        self.undone = max(0.0, min(self.over_by, _MOST_UNDONE * self.asked) - self.asked * (day - self._day - 1))
        if np.isnan(self.expected):
            self.undone = 0.0  # of before any threshold was set
        self.last_day = self.spent
        self.spent, self._seen = 0.0, False
        self._today = np.zeros_like(self._today)
        self._day, self._began_us = day, day * DAY_US

    def dump(self) -> dict[str, NDArray[Any]]:
        pieces = sorted(self._open)
        return {
            "edges": self.scale.edges,
            "today": self._today.copy(),
            "past": self._past.copy(),
            "clock": np.array([-1 if self._day is None else self._day, self._began_us, self._seen], np.int64),
            "sums": np.array([self._past_days, self.spent, self.undone, self.last_day, self.expected]),
            "pieces": np.array(pieces, np.uint64),
            "open": np.array([self._open[k] for k in pieces], np.int64).reshape(len(pieces), 4),
        }

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """What was counted on another scale is left: it begins anew."""
        if not np.array_equal(arrays.get("edges", np.zeros(0)), self.scale.edges):
            return
        self._today, self._past = arrays["today"].copy(), arrays["past"].copy()
        day, self._began_us, seen = (int(v) for v in arrays["clock"])
        self._day, self._seen = None if day < 0 else day, bool(seen)
        self._past_days, self.spent, self.undone, self.last_day, self.expected = (float(v) for v in arrays["sums"])
        values = arrays["open"].tolist()
        self._open = {int(k): tuple(v) for k, v in zip(arrays["pieces"].tolist(), values, strict=True)}
