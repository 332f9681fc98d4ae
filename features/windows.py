"""Counts and sums over sliding windows: the last events one by one for short windows, buckets for long ones.

A bucketed window is the sum of the buckets that lie inside it plus the covered share of the oldest one, so its error is at
most the weight of that oldest bucket (1/12 of 24 h, 1/14 of 7 d, 1/10 of 30 d when events are even).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.compiled import compiled
from features.record import BUCKET_AT, BUCKET_US, BUCKETS, RECENT, RECENT_FAIL, RECENT_OUTCOME, SHORT_US, WINDOW_US

_FULL_COUNT = 65535


@compiled
def add_recent(record: Any, at_us: int, amount: float, code: int) -> None:
    """Keep the event among the last ones, in order of time; the oldest leaves when full."""
    n = np.int64(record.recent)
    if n == RECENT:
        if at_us <= record.recent_us[0]:
            return
        for i in range(RECENT - 1):
            record.recent_us[i] = record.recent_us[i + 1]
            record.recent_amount[i] = record.recent_amount[i + 1]
            record.recent_code[i] = record.recent_code[i + 1]
        n = RECENT - 1
    else:
        record.recent = n + 1
    i = n
    while i > 0 and record.recent_us[i - 1] > at_us:
        record.recent_us[i] = record.recent_us[i - 1]
        record.recent_amount[i] = record.recent_amount[i - 1]
        record.recent_code[i] = record.recent_code[i - 1]
        i -= 1
    record.recent_us[i] = at_us
    record.recent_amount[i] = amount
    record.recent_code[i] = code


@compiled
def recent_counts(record: Any, at_us: int, window_us: int) -> tuple[int, int, float, bool]:
    """(events, fails, amount, complete) in (at - window, at] among the last events; complete = none can be missing."""
    events, fails, amount = 0, 0, 0.0
    n = np.int64(record.recent)
    for i in range(n):
        t = record.recent_us[i]
        if at_us - window_us < t <= at_us:
            events += 1
            if record.recent_code[i] & RECENT_FAIL:
                fails += 1
            if record.recent_amount[i] == record.recent_amount[i]:
                amount += record.recent_amount[i]
    complete = n < RECENT or record.recent_us[0] <= at_us - window_us
    return events, fails, amount, complete


@compiled
def fail_run(record: Any, at_us: int) -> int:
    """Fails in a row up to `at_us`, among the last events that have an outcome."""
    run = 0
    for i in range(np.int64(record.recent) - 1, -1, -1):
        if record.recent_us[i] > at_us or not record.recent_code[i] & RECENT_OUTCOME:
            continue
        if not record.recent_code[i] & RECENT_FAIL:
            return run
        run += 1
    return run


@compiled
def roll_buckets(record: Any, from_us: int, to_us: int) -> None:
    """Empty the buckets that time has passed over since `from_us` (the last event)."""
    for w in range(3):
        size, n, base = BUCKET_US[w], BUCKETS[w] + 1, BUCKET_AT[w]
        old, new = from_us // size, to_us // size
        for b in range(max(old + 1, new - n + 1), new + 1):
            record.bucket_count[base + b % n] = 0
            record.bucket_amount[base + b % n] = 0.0


@compiled
def add_buckets(record: Any, at_us: int, amount: float) -> None:
    """Count the event in the bucket of its time; `last_us` is already up to date. Too old for a window: left out of it."""
    for w in range(3):
        size, n, base = BUCKET_US[w], BUCKETS[w] + 1, BUCKET_AT[w]
        b = at_us // size
        if b > record.last_us // size - n:
            i = base + b % n
            if record.bucket_count[i] < _FULL_COUNT:
                record.bucket_count[i] += 1
            if amount == amount:
                record.bucket_amount[i] += amount


@compiled
def bucket_sum(record: Any, at_us: int, w: int, window_us: int) -> tuple[float, float]:
    """(events, amount) in (at - window, at], from the buckets of window `w`."""
    size, n, base = BUCKET_US[w], BUCKETS[w] + 1, BUCKET_AT[w]
    oldest_kept = record.last_us // size - n + 1
    start_us = at_us - window_us
    now, old = at_us // size, start_us // size
    events, amount = 0.0, 0.0
    for b in range(max(old + 1, oldest_kept), now + 1):
        events += record.bucket_count[base + b % n]
        amount += record.bucket_amount[base + b % n]
    if oldest_kept <= old < now:
        share = ((old + 1) * size - start_us) / size
        events += share * record.bucket_count[base + old % n]
        amount += share * record.bucket_amount[base + old % n]
    return events, amount


@compiled
def window_features(record: Any, at_us: int, out: Any) -> None:
    """out[0:11] = count_1m, count_10m, count_1h, count_24h, count_7d, count_30d, count_all, amount_1h, _24h, _7d, _30d."""
    for w in range(3):
        events, _, amount, complete = recent_counts(record, at_us, SHORT_US[w])
        out[w] = events
        if w == 2:
            out[7] = amount
            if not complete:
                about, about_amount = bucket_sum(record, at_us, 0, SHORT_US[2])
                bucket_start = at_us // BUCKET_US[0] * BUCKET_US[0]
                if at_us - SHORT_US[2] >= bucket_start:
                    n = BUCKETS[0] + 1
                    b = at_us // BUCKET_US[0] % n
                    share = SHORT_US[2] / max(SHORT_US[2], at_us - bucket_start)
                    about = share * record.bucket_count[BUCKET_AT[0] + b]
                    about_amount = share * record.bucket_amount[BUCKET_AT[0] + b]
                out[2] = max(float(events), about)
                out[7] = max(amount, about_amount)
    for w in range(3):
        events_w, amount_w = bucket_sum(record, at_us, w, WINDOW_US[w])
        out[3 + w] = max(events_w, float(out[2]))
        out[8 + w] = max(amount_w, float(out[7])) if out[7] >= 0 else amount_w
    out[6] = record.count
