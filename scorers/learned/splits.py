"""Which way a row goes at a split, for compiled loops."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")
u64: Any = np.uint64
"""Of indexes: unsigned, so that none is checked for being negative."""


@compiled
def right(cell: Any, threshold: Any, missing_left: Any) -> Any:
    """1 where the cell goes right, else 0; without a branch, which the processor could not foretell."""
    return u64((not (cell <= threshold)) & (not (missing_left & (cell != cell))))
