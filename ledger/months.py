"""Calendar months in UTC: what the ledger is cut into."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from ringwatch.model import DAY_US

Month = tuple[int, int]
"""Year, and month from 1."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def months_of(times_us: Sequence[int]) -> set[Month]:
    """The months these times lie in."""
    days = np.unique(np.asarray(times_us, np.int64) // DAY_US)
    return {month_of(day * DAY_US) for day in days.tolist()}


def month_of(at_us: int) -> Month:
    at = _EPOCH + timedelta(microseconds=at_us)
    return at.year, at.month


def starts_us(month: Month) -> int:
    return (datetime(*month, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def ends_us(month: Month) -> int:
    """Where the next begins."""
    year, number = month
    return starts_us((year + 1, 1) if number == 12 else (year, number + 1))
