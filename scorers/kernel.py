"""The compiled loops of the hand-written scorers: clues, signals, and how scores are joined. Any number of rows, the same bits.

Self-contained on purpose: numba's cache looks at this file alone.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")

COUNT, LEAVE_OUT, SILENT = 0, 1, 2
"""What becomes of the user's own confirmed fraud in a signal."""
_COVERED = 0.2


@compiled
def ramp(x: float, low: float, high: float, missing: float) -> float:
    """0 up to `low`, 1 from `high` on, linear between; equal bounds are a step."""
    if math.isnan(x):
        return missing
    if low == high:
        return 1.0 if x >= low else 0.0
    return min(max((x - low) / (high - low), 0.0), 1.0)


@compiled
def ramps(x: Any, low: float, high: float, top: float) -> Any:
    """0 at `low`, `top` at `high`, 0 where missing: float64 (n,) to float64 (n,)."""
    out = np.zeros(len(x))
    for i in range(len(x)):
        value = (x[i] - low) / (high - low) * top
        if value > 0.0:
            out[i] = min(value, top)
    return out


@compiled
def join(scores: Any, weights: Any) -> Any:
    """1 - prod(1 - w * s) over a row, NaN left out: (n, m), and (n, m) or (1, m) for all rows, to float64 (n,)."""
    n, m = scores.shape
    out = np.empty(n)
    step = 1 if len(weights) == n else 0
    for i in range(n):
        calm, w = 1.0, weights[i * step]
        for j in range(m):
            s = scores[i, j]
            if not math.isnan(s):
                calm *= 1.0 - w[j] * s
        out[i] = 1.0 - calm
    return out


@compiled
def _clue(features: Any, row: int, clue: int, heads: Any, tops: Any, columns: Any, ranges: Any) -> Any:
    value = tops[clue]
    for k in range(heads[clue, 0], heads[clue, 1]):
        x: Any = np.float64(features[row, columns[k, 0]])
        of = columns[k, 1]
        if of >= 0:
            y = np.float64(features[row, of])
            x = math.nan if math.isnan(y) else x / max(y, 1.0)
        value *= ramp(x, ranges[k, 0], ranges[k, 1], ranges[k, 2])
        if value <= 0.0:
            return 0.0
    return value


@compiled
def _tried(type_code: float, types: int) -> bool:
    return types == 0 or (not math.isnan(type_code) and (types >> np.int64(type_code)) & 1 == 1)


@compiled
def score_clues(features: Any, type_column: int, heads: Any, tops: Any, columns: Any, ranges: Any) -> Any:
    """Noisy-or over groups of clues, of each group the strongest; NaN where no clue could be tried.

    `heads` int64 (clues, 4), groups together: first condition, end, group, types as bits (0: all); `tops` float64 (clues,);
    `columns` int64 (conditions, 2): feature, divisor or -1; `ranges` float64 (conditions, 3): low, high, missing.
    """
    n = features.shape[0]
    out = np.full(n, math.nan)
    for i in range(n):
        type_code = np.float64(features[i, type_column])
        calm, strongest, group, present = 1.0, 0.0, np.int64(-1), False
        for c in range(heads.shape[0]):
            if heads[c, 2] != group:
                calm *= 1.0 - strongest
                strongest, group = 0.0, heads[c, 2]
            first = heads[c, 0]
            missing = math.isnan(features[i, columns[first, 0]]) and not ranges[first, 2] > 0.0
            if missing or not _tried(type_code, heads[c, 3]):
                continue
            present = True
            strongest = max(strongest, _clue(features, i, c, heads, tops, columns, ranges))
        if present:
            out[i] = 1.0 - calm * (1.0 - strongest)
    return out


@compiled
def clues_of(features: Any, row: int, type_column: int, heads: Any, tops: Any, columns: Any, ranges: Any) -> Any:
    """The strength of each clue for one row; 0 where it is not tried. Arguments as of `score_clues`."""
    out = np.zeros(heads.shape[0])
    type_code = np.float64(features[row, type_column])
    for c in range(heads.shape[0]):
        if _tried(type_code, heads[c, 3]):
            out[c] = _clue(features, row, c, heads, tops, columns, ranges)
    return out


@compiled
def _signal(features: Any, row: int, s: int, at: Any, ranges: Any) -> Any:
    low, high, top = ranges[s, 0], ranges[s, 1], ranges[s, 2]
    x = np.float64(features[row, at[s, 0]])
    known = features[row, at[s, 6]] > 0
    own = at[s, 7]
    if known and own == LEAVE_OUT:
        x -= 1.0
    value = (x - low) / (high - low) * top
    if math.isnan(value) or value <= 0.0 or (known and own == SILENT):
        return 0.0
    if at[s, 2] >= 0 and not np.float64(features[row, at[s, 2]]) >= ranges[s, 3]:
        return 0.0
    value = min(value, top)
    if at[s, 3] >= 0:
        whole = np.float64(features[row, at[s, 3]])
        if known and own == LEAVE_OUT:
            whole -= 1.0
        value *= min(x / max(whole * ranges[s, 4], 1.0), 1.0)
    if at[s, 8]:
        labels = np.float64(features[row, at[s, 4]]) + np.float64(features[row, at[s, 5]])
        if not labels >= _COVERED * np.float64(features[row, at[s, 1]]):
            return 0.0
    return value


@compiled
def score_signals(features: Any, at: Any, ranges: Any) -> Any:
    """Noisy-or of signals; NaN where none is about an entity of the row.

    `at` int64 (signals, 9): columns of the feature, the slot's count, the least or -1, the whole or -1, fraud and good labels,
    the user's fraud; then what becomes of that, and 1 where it must be covered by labels. `ranges` float64 (signals, 5): low,
    high, top, least value, share of the whole.
    """
    n = features.shape[0]
    out = np.full(n, math.nan)
    for i in range(n):
        calm, present = 1.0, False
        for s in range(at.shape[0]):
            if not math.isnan(features[i, at[s, 1]]):
                present = True
                calm *= 1.0 - _signal(features, i, s, at, ranges)
        if present:
            out[i] = 1.0 - calm
    return out


@compiled
def signals_of(features: Any, row: int, at: Any, ranges: Any) -> Any:
    """The strength of each signal for one row. Arguments as of `score_signals`."""
    out = np.zeros(at.shape[0])
    for s in range(at.shape[0]):
        out[s] = _signal(features, row, s, at, ranges)
    return out
