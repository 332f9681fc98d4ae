"""How an event compares with the entity's own past: amounts, hour of the day, category, place.

Running mean and variance: Welford (1962). Robust z-score: Iglewicz and Hoaglin (1993), 0.6745 (x - median) / MAD; quartiles by
linear interpolation between order statistics; distance: haversine on a sphere of 6,371 km.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from features.compiled import compiled
from features.record import CATEGORY_BINS, HOUR_BINS
from ringwatch.model import HOUR_US

_FULL = 255
_LEAST_SPREAD = 0.05
"""Smallest deviation (log units, about 5 %) an amount is held against, so that a constant spender does not divide by zero."""
_NAN = math.nan


@compiled
def _sorted_recent_logs(record: Any, at_us: int, scratch: Any) -> int:
    n = 0
    for i in range(np.int64(record.recent)):
        amount = record.recent_amount[i]
        if amount != amount or record.recent_us[i] > at_us:
            continue
        value = math.log(max(amount, 0.0) + 1.0)
        j = n
        while j > 0 and scratch[j - 1] > value:
            scratch[j] = scratch[j - 1]
            j -= 1
        scratch[j] = value
        n += 1
    return n


@compiled
def _quantile(values: Any, n: int, q: float) -> float:
    at = q * (n - 1)
    low = int(at)
    high = min(low + 1, n - 1)
    return float(values[low] + (at - low) * (values[high] - values[low]))


@compiled
def amount_features(record: Any, at_us: int, amount: float, mean_30d: float, scratch: Any, out: Any) -> None:
    """out[0:5] = z, robust_z, iqr_excess, median_ratio, ratio_30d, against the record before this event."""
    for i in range(5):
        out[i] = _NAN
    if amount != amount:
        return
    log_amount = math.log(max(amount, 0.0) + 1.0)
    if record.amount_n >= 3:
        deviation = math.sqrt(record.amount_m2 / (record.amount_n - 1))
        out[0] = (log_amount - record.amount_mean) / max(deviation, _LEAST_SPREAD)
    n = _sorted_recent_logs(record, at_us, scratch)
    if n > 0:
        median = _quantile(scratch, n, 0.5)
        out[3] = log_amount - median
        if n >= 5:
            q1, q3 = _quantile(scratch, n, 0.25), _quantile(scratch, n, 0.75)
            iqr = max(q3 - q1, _LEAST_SPREAD)
            out[2] = max(log_amount - q3, q1 - log_amount, 0.0) / iqr
            for i in range(n):
                scratch[i] = abs(scratch[i] - median)
            for i in range(1, n):
                value, j = scratch[i], i
                while j > 0 and scratch[j - 1] > value:
                    scratch[j] = scratch[j - 1]
                    j -= 1
                scratch[j] = value
            out[1] = 0.6745 * (log_amount - median) / max(_quantile(scratch, n, 0.5), _LEAST_SPREAD)
    if mean_30d > 0.0:
        out[4] = math.log((max(amount, 0.0) + 1.0) / (mean_30d + 1.0))


@compiled
def amount_peak(record: Any, at_us: int) -> float:
    """Log of the highest amount of the last 10 events over the geometric mean of all amounts; NaN under 3 amounts."""
    highest = -1.0
    for i in range(np.int64(record.recent)):
        amount = record.recent_amount[i]
        if amount == amount and record.recent_us[i] <= at_us:
            highest = max(highest, amount)
    return math.log(highest + 1.0) - record.amount_mean if highest >= 0.0 and record.amount_n >= 3 else _NAN


@compiled
def add_amount(record: Any, amount: float) -> None:
    if amount != amount:
        return
    value = math.log(max(amount, 0.0) + 1.0)
    record.amount_n += 1
    delta = value - record.amount_mean
    record.amount_mean += delta / record.amount_n
    record.amount_m2 += delta * (value - record.amount_mean)


@compiled
def _share(bins: Any, n: int, i: int) -> float:
    total = 0.0
    for j in range(n):
        total += bins[j]
    return float((bins[i] + 1.0) / (total + n))


@compiled
def _count_bin(bins: Any, n: int, i: int) -> None:
    if bins[i] == _FULL:
        for j in range(n):
            bins[j] //= 2
    bins[i] += 1


@compiled
def hour_bin(at_us: int) -> int:
    return int(at_us // (24 // HOUR_BINS * HOUR_US) % HOUR_BINS)


@compiled
def habit_shares(record: Any, at_us: int, category: int) -> tuple[float, float]:
    """(hour_share, category_share) before this event; missing on the entity's first event or without a category."""
    if record.count == 0:
        return _NAN, _NAN
    hour = _share(record.hours, HOUR_BINS, hour_bin(at_us))
    if category >= CATEGORY_BINS:
        return hour, _NAN
    return hour, _share(record.categories, CATEGORY_BINS, category)


@compiled
def add_habits(record: Any, at_us: int, category: int) -> None:
    _count_bin(record.hours, HOUR_BINS, hour_bin(at_us))
    if category < CATEGORY_BINS:
        _count_bin(record.categories, CATEGORY_BINS, category)


@compiled
def haversine_km(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    p1, p2 = math.radians(lat1), math.radians(lat2)
    a = math.sin((p2 - p1) / 2.0) ** 2 + math.cos(p1) * math.cos(p2) * math.sin(math.radians(lon2 - lon1) / 2.0) ** 2
    return 2.0 * 6371.0 * math.asin(math.sqrt(min(1.0, a)))


@compiled
def place_features(record: Any, at_us: int, lat: float, lon: float, country: int, out: Any) -> None:
    """out[0:3] = distance_km, speed_kmh, country_changed against the entity's last place."""
    out[0], out[1], out[2] = _NAN, _NAN, _NAN
    if country != 0 and record.country != 0:
        out[2] = 1.0 if country != record.country else 0.0
    if lat == lat and lon == lon and record.place_us != 0:
        km = haversine_km(record.place_lat, record.place_lon, lat, lon)
        out[0] = km
        out[1] = km / (max(abs(at_us - record.place_us), 60_000_000) / HOUR_US)


@compiled
def add_place(record: Any, at_us: int, lat: float, lon: float, country: int) -> None:
    if at_us < record.place_us:
        return
    if country != 0:
        record.country = country
    if lat == lat and lon == lon:
        record.place_lat = lat
        record.place_lon = lon
        record.place_us = at_us
