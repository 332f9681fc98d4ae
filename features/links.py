"""Links between a user and another entity, as each end keeps them, and the labels that travel along them.

Distinct counts: exact while no kept link had to leave; then linear counting (Whang et al. 1990) with 32 bits a kind on a user,
HyperLogLog (Flajolet et al. 2007) with 64 registers on any other entity: standard error 1.04 / sqrt(64) = 13 %.
A link that left the kept ones is recognised by a Bloom filter of 256 bits and two hashes: it is taken for seen before
with probability (1 - e^(-2n/256))^2 after n links, 5 % at 32 and 15 % at 64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from features.compiled import compiled
from features.index import Table, find
from features.record import (
    FILTER_BYTES,
    LINK_DEPARTED,
    LINK_FRAUD,
    LINK_GOOD,
    LINK_PROMO,
    LINK_WEAK,
    LINKS,
    SKETCH_BYTES,
)
from ringwatch.model import DAY_US, HOUR_US, MICROSECONDS

_FULL_COUNT = 65535
_WINDOWS_S = (HOUR_US // MICROSECONDS, DAY_US // MICROSECONDS, 7 * DAY_US // MICROSECONDS, 30 * DAY_US // MICROSECONDS)
_DAY_S = DAY_US // MICROSECONDS
HALF_LIFE_S = 30.0 * _DAY_S
_LAST8 = 255
_RUN_ENDS, _FULL8 = 3, 255
"""So many labels of good in a row end a run of frauds."""
_PRIOR_RATE, _PRIOR_WEIGHT = 0.01, 2.0


@compiled
def link_position(record: Any, key: int) -> int:
    for i in range(np.int64(record.links)):
        if record.link_key[i] == np.uint64(key):
            return i
    return -1


@compiled
def _filter_seen(record: Any, key: int) -> bool:
    """Whether the filter has the key; it has it afterwards."""
    seen = True
    for shift in (16, 32):
        bit = np.int64((np.uint64(key) >> np.uint64(shift)) & np.uint64(8 * FILTER_BYTES - 1))
        mask = np.uint8(1 << (bit & 7))
        if not record.filter[bit >> 3] & mask:
            seen = False
            record.filter[bit >> 3] |= mask
    return seen


@compiled
def _sketch(record: Any, is_user: bool, key: int, kind: int) -> None:
    if is_user:
        bit = np.int64((np.uint64(key) >> np.uint64(40)) & np.uint64(31))
        record.user_bits[kind] |= np.uint32(np.uint32(1) << np.uint32(bit))
        return
    register = np.int64((np.uint64(key) >> np.uint64(48)) & np.uint64(SKETCH_BYTES - 1))
    rest = (np.uint64(key) & np.uint64((1 << 48) - 1)) | np.uint64(1 << 48)
    rank = 1
    while not rest & np.uint64(1):
        rest >>= np.uint64(1)
        rank += 1
    word, shift = register >> 2, np.uint32(8 * (register & 3))
    old = (record.user_bits[word] >> shift) & np.uint32(255)
    if np.uint32(rank) > old:
        record.user_bits[word] = (record.user_bits[word] & ~(np.uint32(255) << shift)) | (np.uint32(rank) << shift)


@compiled
def least_needed(record: Any) -> int:
    """The link to give up: the least recently active weak one, else the least recently active."""
    least = -1
    for j in range(LINKS):
        if least < 0:
            least = j
            continue
        weak, least_weak = record.link_flags[j] & LINK_WEAK, record.link_flags[least] & LINK_WEAK
        if weak > least_weak or (weak == least_weak and record.link_last_s[j] < record.link_last_s[least]):
            least = j
    return least


@compiled
def touch_link(record: Any, is_user: bool, key: int, kind: int, at_s: int, flags: int) -> bool:
    """Count the event on the link to `key`; True when the link is new. When full, one leaves (weak kinds first)."""
    i = link_position(record, key)
    new = False
    if i < 0:
        seen = _filter_seen(record, key)
        new = np.int64(record.links) < LINKS or not seen
        _sketch(record, is_user, key, kind)
        if np.int64(record.links) < LINKS:
            i = np.int64(record.links)
            record.links = i + 1
        else:
            i = least_needed(record)
        record.link_key[i] = key
        record.link_kind[i] = kind
        # When a link that had to leave began is forgotten; the entity's own first event is the earliest it can be.
        record.link_first_s[i] = at_s if new else record.first_us // MICROSECONDS
        record.link_last_s[i] = at_s
        record.link_count[i] = 0
        record.link_flags[i] = flags
    record.link_first_s[i] = min(np.uint32(at_s), record.link_first_s[i])
    record.link_last_s[i] = max(np.uint32(at_s), record.link_last_s[i])
    if record.link_count[i] < _FULL_COUNT:
        record.link_count[i] += 1
    record.link_flags[i] |= np.uint8(flags & LINK_PROMO)
    return new


@compiled
def _linear_count(bits: int) -> float:
    empty = 0
    for i in range(32):
        if not bits & (1 << i):
            empty += 1
    return -32.0 * math.log(max(empty, 1) / 32.0)


@compiled
def distinct_links(record: Any, is_user: bool, kind: int) -> float:
    """Distinct linked entities ever, of one kind (or, kind < 0, of all)."""
    kept = 0
    for i in range(np.int64(record.links)):
        if kind < 0 or record.link_kind[i] == kind:
            kept += 1
    if np.int64(record.links) < LINKS:
        return float(kept)
    if is_user:
        total = 0.0
        for k in range(record.user_bits.size):
            if kind < 0 or k == kind:
                total += _linear_count(np.int64(record.user_bits[k]))
        return max(float(kept), np.rint(total))
    harmonic, empty = 0.0, 0
    for register in range(SKETCH_BYTES):
        rank = np.int64((record.user_bits[register >> 2] >> np.uint32(8 * (register & 3))) & np.uint32(255))
        harmonic += 2.0 ** (-rank)
        if rank == 0:
            empty += 1
    estimate = 0.709 * SKETCH_BYTES * SKETCH_BYTES / harmonic
    if estimate <= 2.5 * SKETCH_BYTES and empty > 0:
        estimate = SKETCH_BYTES * math.log(SKETCH_BYTES / empty)
    return max(float(kept), np.rint(estimate))


@compiled
def link_features(record: Any, is_user: bool, at_s: int, out: Any) -> None:
    """out[0:13] = neighbours_1h/24h/7d/30d/all, new_neighbours_24h/7d, young, top_share, then fraud and good in [9], [10],
    departed and promo in [11], [12]."""
    for i in range(13):
        out[i] = 0.0
    busiest, total = 0.0, 0.0
    for i in range(np.int64(record.links)):
        since_last = at_s - np.int64(record.link_last_s[i])
        since_first = at_s - np.int64(record.link_first_s[i])
        for w in range(4):
            if since_last < _WINDOWS_S[w]:
                out[w] += 1.0
        if since_first < _WINDOWS_S[1]:
            out[5] += 1.0
        if since_first < _WINDOWS_S[2]:
            out[6] += 1.0
        flags = record.link_flags[i]
        if flags & 1:
            out[7] += 1.0
        if flags & LINK_FRAUD:
            out[9] += 1.0
        elif flags & LINK_GOOD:
            out[10] += 1.0
        if flags & LINK_DEPARTED:
            out[11] += 1.0
        if flags & LINK_PROMO:
            out[12] += 1.0
        busiest = max(busiest, float(record.link_count[i]))
        total += record.link_count[i]
    out[4] = distinct_links(record, is_user, -1)
    out[8] = busiest / total if total > 0.0 else 0.0


@compiled
def links_of_kind_24h(record: Any, at_s: int, kind: int) -> int:
    n = 0
    for i in range(np.int64(record.links)):
        if record.link_kind[i] == kind and at_s - np.int64(record.link_last_s[i]) < _DAY_S:
            n += 1
    return n


@compiled
def _decay(record: Any, at_s: int) -> None:
    if record.label_s != 0 and at_s > np.int64(record.label_s):
        factor = 2.0 ** (-(at_s - np.int64(record.label_s)) / HALF_LIFE_S)
        record.label_weight *= factor
        record.fraud_weight *= factor
    record.label_s = max(np.uint32(at_s), record.label_s)


@compiled
def fraud_rate(record: Any, at_s: int) -> float:
    """Confirmed fraud over confirmed, both halved every 30 days, smoothed; missing without any label."""
    if record.label_s == 0:
        return math.nan
    factor = 2.0 ** (-max(at_s - np.int64(record.label_s), 0) / HALF_LIFE_S)
    return float(
        (record.fraud_weight * factor + _PRIOR_RATE * _PRIOR_WEIGHT) / (record.label_weight * factor + _PRIOR_WEIGHT)
    )


@compiled
def last_known_frauds(record: Any, n: int) -> float:
    """Frauds among the last `n` (at most 8) labels that became known; missing without any."""
    if record.label_s == 0:
        return math.nan
    frauds = 0
    for i in range(n):
        frauds += np.int64(record.known) >> i & 1
    return float(frauds)


@compiled
def run_on(record: Any, fraud: bool, at_s: int) -> None:
    """One more label in the run of frauds: since when it lasts, how many they are, and labels of good since the last."""
    if not fraud:
        record.run_goods = min(np.int64(record.run_goods) + 1, _FULL8)
        return
    if record.run_frauds == 0 or record.run_goods >= _RUN_ENDS:
        record.run_s, record.run_frauds = at_s, 0
    record.run_frauds = min(np.int64(record.run_frauds) + 1, _FULL8)
    record.run_goods = 0


@compiled
def add_label(table: Table, slot: int, fraud: bool, at_s: int, crowded: bool) -> None:
    """Count a label on an entity; its first one of a sort is marked on its neighbours' links, unless the kind is crowded."""
    record = table.records[slot]
    _decay(record, at_s)
    record.label_weight += 1.0
    record.known = (np.int64(record.known) << 1 | np.int64(fraud)) & _LAST8
    run_on(record, fraud, at_s)
    if fraud:
        first = record.fraud_labels == 0
        record.fraud_labels += 1
        record.fraud_weight += 1.0
        record.fraud_s = max(np.uint32(at_s), record.fraud_s)
    else:
        first = record.good_labels == 0
        record.good_labels += 1
    if not first or crowded:
        return
    flag = np.uint8(LINK_FRAUD if fraud else LINK_GOOD)
    for i in range(np.int64(record.links)):
        other = find(table, record.link_key[i])
        if other >= 0:
            j = link_position(table.records[other], record.key)
            if j >= 0:
                table.records[other].link_flags[j] |= flag
