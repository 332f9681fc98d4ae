"""Three-way merge of a record that several processes changed at once: as it was read, mine, theirs.

Used for crowded kinds, which stay out of the compare-and-set. Nothing that was counted is lost: counts, sums and buckets
are added up (theirs plus what mine added), times are the earliest and the latest, filters and sketches are united, links
and last events are united by key and time. Approximate, since they depend on an order that there was none of: runs
(`holds`, `sku_run`, `run_*`), the halving of habit bins, which of the links leave when more than 16 are kept, and what counts as
late. Means and variances: Chan, Golub and LeVeque (1983), on what mine added.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.compiled import compiled
from features.links import HALF_LIFE_S, least_needed, link_position, run_on
from features.record import (
    BUCKET_TOTAL,
    CATEGORY_BINS,
    FILTER_BYTES,
    HOUR_BINS,
    LINKS,
    ORDER_BYTES,
    TYPES,
)
from features.windows import add_recent, roll_buckets
from ringwatch.model import MAX_KINDS

_FULL16, _FULL8 = 65535, 255


@compiled
def _halved(after_s: int) -> float:
    return 2.0 ** (-max(after_s, 0) / HALF_LIFE_S)


@compiled
def _times(mine: Any, out: Any) -> None:
    if out.count == 0:
        out.key, out.kind = mine.key, mine.kind
        out.first_us, out.last_us = mine.first_us, mine.last_us
    out.first_us = min(out.first_us, mine.first_us)
    for t in range(TYPES):
        out.type_last_s[t] = max(out.type_last_s[t], mine.type_last_s[t])
    out.fraud_s = max(out.fraud_s, mine.fraud_s)


@compiled
def _buckets(base: Any, mine: Any, out: Any) -> None:
    """All three are rolled to the latest time, where a bucket means the same span in each."""
    to_us = max(mine.last_us, out.last_us)
    if base.count > 0:
        roll_buckets(base, base.last_us, to_us)
    roll_buckets(mine, mine.last_us, to_us)
    roll_buckets(out, out.last_us, to_us)
    out.last_us = to_us
    for b in range(BUCKET_TOTAL):
        more = np.int64(mine.bucket_count[b]) - np.int64(base.bucket_count[b])
        out.bucket_count[b] = min(max(np.int64(out.bucket_count[b]) + more, 0), _FULL16)
        added = np.float64(mine.bucket_amount[b]) - np.float64(base.bucket_amount[b])
        out.bucket_amount[b] = np.float32(np.float64(out.bucket_amount[b]) + added)


@compiled
def _amounts(base: Any, mine: Any, out: Any) -> None:
    n_base, n_mine, n = np.float64(base.amount_n), np.float64(mine.amount_n), np.float64(out.amount_n)
    added = n_mine - n_base
    if added <= 0.0:
        return
    base_mean, mean = np.float64(base.amount_mean), np.float64(out.amount_mean)
    added_mean = (np.float64(mine.amount_mean) * n_mine - base_mean * n_base) / added
    between = (added_mean - base_mean) ** 2 * n_base * added / n_mine
    added_m2 = max(np.float64(mine.amount_m2) - np.float64(base.amount_m2) - between, 0.0)
    total = n + added
    out.amount_mean = np.float32(mean + (added_mean - mean) * added / total)
    out.amount_m2 = np.float32(np.float64(out.amount_m2) + added_m2 + (added_mean - mean) ** 2 * n * added / total)
    out.amount_n += mine.amount_n - base.amount_n


@compiled
def _counts(base: Any, mine: Any, out: Any) -> None:
    out.count += mine.count - base.count
    out.outcome_n += mine.outcome_n - base.outcome_n
    out.fail_n += mine.fail_n - base.fail_n
    out.fraud_labels += mine.fraud_labels - base.fraud_labels
    out.good_labels += mine.good_labels - base.good_labels
    out.paid_n += mine.paid_n - base.paid_n
    out.paired_n += mine.paired_n - base.paired_n


@compiled
def _labels(base: Any, mine: Any, out: Any) -> None:
    """Weights halve with time: what mine added is brought to the latest time, and theirs too."""
    if mine.label_s == 0:
        return
    mine_s, out_s = np.int64(mine.label_s), np.int64(out.label_s)
    at_s = max(mine_s, out_s)
    more = (
        np.int64(mine.fraud_labels)
        + np.int64(mine.good_labels)
        - np.int64(base.fraud_labels)
        - np.int64(base.good_labels)
    )
    if more > 0:
        added = min(more, 8)
        out.known = (np.int64(out.known) << added | np.int64(mine.known) & ((1 << added) - 1)) & _FULL8
        for i in range(added - 1, -1, -1):
            run_on(out, bool(np.int64(mine.known) >> i & 1), mine_s)
    kept = _halved(mine_s - np.int64(base.label_s)) if base.label_s != 0 else 0.0
    mine_now, out_now = _halved(at_s - mine_s), _halved(at_s - out_s) if out_s != 0 else 0.0
    fraud = max(np.float64(mine.fraud_weight) - kept * np.float64(base.fraud_weight), 0.0)
    label = max(np.float64(mine.label_weight) - kept * np.float64(base.label_weight), 0.0)
    out.fraud_weight = np.float32(np.float64(out.fraud_weight) * out_now + fraud * mine_now)
    out.label_weight = np.float32(np.float64(out.label_weight) * out_now + label * mine_now)
    out.label_s = np.uint32(at_s)


@compiled
def _had(base: Any, at_us: int, amount: Any, code: int, nth: int) -> bool:
    """Whether `base` has this event at least `nth` times among its last ones."""
    n = 0
    for i in range(np.int64(base.recent)):
        if base.recent_us[i] == at_us and base.recent_code[i] == code:
            same = base.recent_amount[i] == amount
            if same or (base.recent_amount[i] != base.recent_amount[i] and amount != amount):
                n += 1
    return n >= nth


@compiled
def _recent(base: Any, mine: Any, out: Any) -> None:
    for i in range(np.int64(mine.recent)):
        at_us, amount, code = mine.recent_us[i], mine.recent_amount[i], mine.recent_code[i]
        nth = 1
        for j in range(i):
            if mine.recent_us[j] == at_us and mine.recent_code[j] == code:
                same = mine.recent_amount[j] == amount
                if same or (mine.recent_amount[j] != mine.recent_amount[j] and amount != amount):
                    nth += 1
        if not _had(base, at_us, amount, np.int64(code), nth):
            add_recent(out, at_us, amount, np.int64(code))


@compiled
def _bins(base: Any, mine: Any, out: Any, n: int) -> None:
    """Habit bins, which are halved when one is full. If mine was, theirs' additions go onto mine."""
    was_halved = False
    for i in range(n):
        was_halved = was_halved or mine[i] < base[i]
    most = 0
    for i in range(n):
        if was_halved:
            total = np.int64(mine[i]) + max(np.int64(out[i]) - np.int64(base[i]), 0)
        else:
            total = np.int64(out[i]) + np.int64(mine[i]) - np.int64(base[i])
        most = max(most, total)
    shift = 0
    while most >> shift > _FULL8:
        shift += 1
    for i in range(n):
        if was_halved:
            total = np.int64(mine[i]) + max(np.int64(out[i]) - np.int64(base[i]), 0)
        else:
            total = np.int64(out[i]) + np.int64(mine[i]) - np.int64(base[i])
        out[i] = np.uint8(total >> shift)


@compiled
def _sets(mine: Any, out: Any, is_user: bool) -> None:
    for i in range(FILTER_BYTES):
        out.filter[i] |= mine.filter[i]
    for i in range(ORDER_BYTES):
        out.orders[i] |= mine.orders[i]
    for word in range(MAX_KINDS):
        if is_user:
            out.user_bits[word] |= mine.user_bits[word]
            continue
        registers = np.uint32(0)
        for shift in (0, 8, 16, 24):
            a = out.user_bits[word] >> np.uint32(shift) & np.uint32(255)
            b = mine.user_bits[word] >> np.uint32(shift) & np.uint32(255)
            registers |= np.uint32(max(a, b) << np.uint32(shift))
        out.user_bits[word] = registers


@compiled
def _links(base: Any, mine: Any, out: Any) -> None:
    for i in range(np.int64(mine.links)):
        key = mine.link_key[i]
        was = link_position(base, key)
        count_before, flags_before = 0, 0
        if was >= 0:
            count_before, flags_before = np.int64(base.link_count[was]), np.int64(base.link_flags[was])
        more = np.int64(mine.link_count[i]) - count_before
        if was >= 0 and more == 0 and np.int64(mine.link_flags[i]) == flags_before:
            continue
        j = link_position(out, key)
        if j < 0:
            if np.int64(out.links) < LINKS:
                j = np.int64(out.links)
                out.links = j + 1
            else:
                j = least_needed(out)
            out.link_key[j], out.link_kind[j], out.link_flags[j] = key, mine.link_kind[i], mine.link_flags[i]
            out.link_first_s[j], out.link_last_s[j] = mine.link_first_s[i], mine.link_last_s[i]
            out.link_count[j] = mine.link_count[i]
            continue
        out.link_count[j] = min(max(np.int64(out.link_count[j]) + more, 0), _FULL16)
        out.link_first_s[j] = min(out.link_first_s[j], mine.link_first_s[i])
        out.link_last_s[j] = max(out.link_last_s[j], mine.link_last_s[i])
        out.link_flags[j] |= mine.link_flags[i]


@compiled
def _place(base: Any, mine: Any, out: Any) -> None:
    if mine.place_us >= out.place_us and mine.place_us != base.place_us:
        out.place_us, out.place_lat, out.place_lon = mine.place_us, mine.place_lat, mine.place_lon
        out.far_lat, out.far_lon, out.hops = mine.far_lat, mine.far_lon, mine.hops
    if mine.country != base.country and (out.country == 0 or mine.last_us >= out.last_us):
        out.country = mine.country


@compiled
def _price(base: Any, mine: Any, out: Any) -> None:
    """The price set last; the price before it is the other one where both were set meanwhile."""
    if mine.price == base.price and mine.price_s == base.price_s:
        return
    if mine.price_s == 0 and out.price_s != 0:
        return
    both = out.price_s != base.price_s and mine.price_s != base.price_s
    if mine.price_s >= out.price_s:
        out.price_before = out.price if both else mine.price_before
        out.price, out.price_s = mine.price, mine.price_s
    elif both:
        out.price_before = mine.price


@compiled
def _runs(base: Any, mine: Any, out: Any) -> None:
    """Of what has no order the latest is kept; a run that mine did not end goes on by as much as mine added."""
    more = np.int64(mine.holds) - np.int64(base.holds)
    out.holds = min(np.int64(out.holds) + more, _FULL8) if more >= 0 else mine.holds
    more = np.int64(mine.agents) - np.int64(base.agents)
    out.agents = min(np.int64(out.agents) + max(more, 0), _FULL8)
    if mine.last_us >= out.last_us:
        if mine.last_sku != base.last_sku or mine.sku_run != base.sku_run:
            out.last_sku, out.sku_run = mine.last_sku, mine.sku_run
        if mine.agent != base.agent:
            out.agent = mine.agent
    if out.origin_device == 0:
        out.origin_device = mine.origin_device
    if out.origin_ip == 0:
        out.origin_ip = mine.origin_ip
    out.basket = max(out.basket, mine.basket)
    out.promo = max(out.promo, mine.promo)


@compiled
def _merge(base: NDArray[Any], mine: NDArray[Any], theirs: NDArray[Any]) -> None:
    for i in range(mine.size):
        b, m, out = base[i], mine[i], theirs[i]
        _runs(b, m, out)
        _place(b, m, out)
        _price(b, m, out)
        _times(m, out)
        _labels(b, m, out)
        _links(b, m, out)
        _sets(m, out, m.kind == 0)
        _bins(b.hours, m.hours, out.hours, HOUR_BINS)
        _bins(b.categories, m.categories, out.categories, CATEGORY_BINS)
        _recent(b, m, out)
        _amounts(b, m, out)
        _buckets(b, m, out)
        _counts(b, m, out)


def merged(base: NDArray[Any], mine: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
    """Records that hold what `theirs` hold and what `mine` added to `base`; row by row, an absent record is all zero."""
    out = theirs.copy()
    _merge(base.copy(), mine.copy(), out)
    return out
