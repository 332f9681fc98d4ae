"""The compiled kernel: runs a batch in order; each event updates the state of its entities, then its features are read.

Order within one event: comparisons with the past (before the update), the update of every entity, the links, then all
counts, so that the tenth user on a device is seen as the tenth. Nothing is allocated per event.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.compiled import compiled
from features.index import BEGAN, SIGNUPS, Table, find, obtain
from features.links import (
    add_label,
    distinct_links,
    fraud_rate,
    last_known_frauds,
    link_features,
    link_position,
    links_of_kind_24h,
    touch_link,
)
from features.profile import (
    add_amount,
    add_habits,
    add_place,
    amount_features,
    amount_peak,
    habit_shares,
    place_features,
)
from features.record import (
    LINK_DEPARTED,
    LINK_FRAUD,
    LINK_GOOD,
    LINK_PROMO,
    LINK_WEAK,
    LINK_YOUNG,
    PROMO,
    RECENT_FAIL,
    RECENT_OUTCOME,
    SHORT_US,
    SIGNUP,
    TYPES,
    WINDOW_US,
)
from features.seen import Seen, note
from features.sequence import SEQUENCES, sequence_after, sequence_before
from features.windows import (
    add_buckets,
    add_recent,
    bucket_sum,
    fail_run,
    recent_counts,
    roll_buckets,
    window_features,
)
from ringwatch.model import DAY_US, HOUR_US, MICROSECONDS

LABEL_FRAUD, LABEL_GOOD = 200, 201
_NAN = math.nan
_DAY_S = DAY_US // MICROSECONDS
_OLD_ENOUGH_US = 14 * DAY_US
_SETTLED_US = 2 * DAY_US


class Columns(NamedTuple):
    """Events and labels in order. `op`: type code, or LABEL_FRAUD / LABEL_GOOD. Floats are NaN where missing."""

    op: NDArray[np.uint8]
    at_us: NDArray[np.int64]
    keys: NDArray[np.uint64]
    """(n, kinds): hash of each entity, 0 = none."""
    amount: NDArray[np.float64]
    fail: NDArray[np.int8]
    """-1 no outcome, 0 approved or success, 1 declined or failed."""
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    country: NDArray[np.uint16]
    category: NDArray[np.uint8]
    quantity: NDArray[np.float64]
    unit_price: NDArray[np.float64]
    stock_after: NDArray[np.float64]
    agent: NDArray[np.uint16]
    """Hash of the user agent, 0 = none."""
    order: NDArray[np.uint32]
    """Hash of the order id, 0 = none."""
    basket: NDArray[np.uint8]
    """1 for a step of the workflow that fills or checks out a basket."""


class Layout(NamedTuple):
    """Where things are in a feature vector, and what each kind is."""

    strength: NDArray[np.int64]
    crowded: NDArray[np.bool_]
    slot_size: int
    user_offset: int
    since_offset: int
    event_offset: int
    sequence_offset: int
    named: NDArray[np.int64]
    """Slots of the kinds whose sequences are kept (features/sequence.py NAMED), -1 where not declared."""


@compiled
def _before(record: Any, cols: Columns, i: int, scratch: Any, out: Any) -> None:
    """Comparisons with the past: out[11:21], out[25:28] and out[54]."""
    at_us = cols.at_us[i]
    out[11] = 0.0
    out[12] = _NAN
    if record.count > 0:
        out[11] = max(at_us - record.first_us, 0) / MICROSECONDS
        out[12] = (at_us - record.last_us) / MICROSECONDS
    prior_count, prior_amount = bucket_sum(record, at_us, 2, WINDOW_US[2])
    with_amount = prior_count * record.amount_n / record.count if record.count > 0 else 0.0
    mean_30d = prior_amount / with_amount if with_amount > 0.0 else 0.0
    amount_features(record, at_us, cols.amount[i], mean_30d, scratch, out[13:18])
    days = min(30.0, max(1.0, out[11] / 86_400.0))
    out[18] = -math.log(prior_count / days + 1.0)
    out[19], out[20] = habit_shares(record, at_us, cols.category[i])
    place_features(record, at_us, cols.lat[i], cols.lon[i], cols.country[i], out[25:28])
    out[54] = amount_peak(record, at_us)


@compiled
def _update(record: Any, cols: Columns, i: int, late_full_us: int) -> None:
    at_us, amount, fail = cols.at_us[i], cols.amount[i], cols.fail[i]
    first = record.count == 0
    windows = first or at_us >= record.last_us - late_full_us
    if first:
        record.first_us = at_us
        record.last_us = at_us
    elif at_us > record.last_us:
        roll_buckets(record, record.last_us, at_us)
        record.last_us = at_us
    record.first_us = min(at_us, record.first_us)
    record.count += 1
    add_amount(record, amount)
    if fail >= 0:
        record.outcome_n += 1
        record.fail_n += fail
    if not windows:
        return
    code = (RECENT_OUTCOME if fail >= 0 else 0) | (RECENT_FAIL if fail == 1 else 0) | (np.int64(cols.op[i]) << 2)
    add_recent(record, at_us, amount, code)
    add_buckets(record, at_us, amount)
    add_habits(record, at_us, cols.category[i])
    add_place(record, at_us, cols.lat[i], cols.lon[i], cols.country[i])


@compiled
def _after(record: Any, at_us: int, linked: bool, is_user: bool, out: Any) -> None:
    """Everything that counts the event itself: out[0:11], velocity, fails, links and labels."""
    window_features(record, at_us, out)
    out[18] += math.log(out[3] + 1.0)
    _, fails_10m, _, _ = recent_counts(record, at_us, SHORT_US[1])
    _, fails_1h, _, _ = recent_counts(record, at_us, SHORT_US[2])
    out[21] = fails_10m
    out[22] = fails_1h
    out[23] = fail_run(record, at_us)
    out[24] = record.fail_n / record.outcome_n if record.outcome_n > 0 else _NAN
    at_s = at_us // MICROSECONDS
    if linked:
        link_features(record, is_user, at_s, out[31:44])
        out[44], out[45], out[47], out[48] = out[40], out[41], out[42], out[43]
    out[40] = record.fraud_labels
    out[41] = record.good_labels
    out[42] = fraud_rate(record, at_s)
    out[43] = max(at_s - np.int64(record.fraud_s), 0) if record.fraud_s != 0 else _NAN
    out[49] = last_known_frauds(record, 3)
    out[50] = last_known_frauds(record, 8)
    if record.label_s != 0:
        out[51], out[52] = record.run_frauds, record.run_goods
    out[53] = max(at_s - np.int64(record.run_s), 0) if record.run_s != 0 else _NAN


@compiled
def _is_young(table: Table, record: Any, at_us: int) -> bool:
    """Under a day since the sign-up. In a stream without sign-ups: since the first event, once the stream is old enough
    for a first event to mean something."""
    if table.meta[SIGNUPS] > 0:
        signup_s = np.int64(record.type_last_s[SIGNUP])
        return signup_s != 0 and at_us // MICROSECONDS - signup_s < _DAY_S
    return at_us - record.first_us < DAY_US and at_us - table.meta[BEGAN] >= _OLD_ENOUGH_US


@compiled
def _flags(table: Table, other: Any, other_crowded: bool, at_us: int) -> int:
    flags = 0
    if _is_young(table, other, at_us):
        flags |= LINK_YOUNG
    if not other_crowded:
        if other.fraud_labels > 0:
            flags |= LINK_FRAUD
        if other.good_labels > 0:
            flags |= LINK_GOOD
    return flags


@compiled
def _link(table: Table, slots: Any, cols: Columns, i: int, layout: Layout, row: Any) -> None:
    """Links of the event's user to its other entities, kept at both ends."""
    user = table.records[slots[0]]
    at_us = cols.at_us[i]
    at_s = at_us // MICROSECONDS
    old = at_us - user.first_us > _SETTLED_US
    promo = LINK_PROMO if user.promo == 1 else 0
    for k in range(1, slots.size):
        if slots[k] < 0 or layout.strength[k] == 0:
            continue
        other = table.records[slots[k]]
        out = row[k * layout.slot_size : (k + 1) * layout.slot_size]
        weak = LINK_WEAK if layout.strength[k] == 1 else 0
        both = weak | (LINK_DEPARTED if old and user.user_bits[k] != 0 else 0)
        new = touch_link(other, False, user.key, 0, at_s, _flags(table, user, False, at_us) | both | promo)
        touch_link(user, True, other.key, k, at_s, _flags(table, other, layout.crowded[k], at_us) | both)
        j = link_position(other, user.key)
        out[28] = 1.0 if new else 0.0
        out[29] = at_s - np.int64(other.link_first_s[j])
        out[30] = other.link_count[j]
        out[46] = 1.0 if other.link_flags[j] & LINK_DEPARTED else 0.0


@compiled
def _redeem(table: Table, user: Any, at_us: int) -> None:
    """A redemption within a day of the sign-up is marked on the user, and on what the user is linked to already."""
    signup_s = np.int64(user.type_last_s[SIGNUP])
    if user.promo == 1 or signup_s == 0 or at_us // MICROSECONDS - signup_s >= _DAY_S:
        return
    user.promo = 1
    for n in range(np.int64(user.links)):
        slot = find(table, user.link_key[n])
        if slot >= 0:
            j = link_position(table.records[slot], user.key)
            if j >= 0:
                table.records[slot].link_flags[j] |= np.uint8(LINK_PROMO)


@compiled
def _user_blocks(record: Any, at_us: int, layout: Layout, row: Any) -> None:
    at_s = at_us // MICROSECONDS
    for k in range(1, layout.strength.size):
        if layout.strength[k] != 0:
            row[layout.user_offset + 2 * k] = links_of_kind_24h(record, at_s, k)
            row[layout.user_offset + 2 * k + 1] = distinct_links(record, True, k)


@compiled
def _event_block(slots: Any, cols: Columns, i: int, layout: Layout, late_s: float, row: Any) -> None:
    out = row[layout.event_offset :]
    at_us, amount = cols.at_us[i], cols.amount[i]
    out[0] = cols.op[i]
    out[1] = amount
    out[2] = math.log(max(amount, 0.0) + 1.0) if amount == amount else _NAN
    out[3] = (at_us % DAY_US) / HOUR_US
    out[4] = (at_us // DAY_US + 3) % 7
    out[5] = cols.fail[i] if cols.fail[i] >= 0 else _NAN
    out[6], out[7], out[8] = cols.quantity[i], cols.unit_price[i], cols.stock_after[i]
    present, new_links, most, fraud = 0.0, 0.0, _NAN, 0.0
    for k in range(slots.size):
        if slots[k] < 0:
            continue
        present += 1.0
        if k > 0 and slots[0] >= 0 and layout.strength[k] == 2:
            base = k * layout.slot_size
            new_links += row[base + 28]
            fraud += row[base + 44]
            if not row[base + 32] <= most:
                most = row[base + 32]
    out[9], out[10], out[11], out[12], out[13] = present, new_links, most, fraud, late_s


@compiled
def _event(table: Table, cols: Columns, i: int, layout: Layout, late_full_us: int, work: Any, row: Any) -> None:
    slots, scratch = work
    at_us = cols.at_us[i]
    if table.meta[BEGAN] == 0:
        table.meta[BEGAN] = at_us
    if cols.op[i] == SIGNUP:
        table.meta[SIGNUPS] += 1
    size = layout.slot_size
    for k in range(slots.size):
        slots[k] = obtain(table, cols.keys[i, k], k) if cols.keys[i, k] != 0 else -1
    late_s = _NAN
    if slots[0] >= 0:
        user = table.records[slots[0]]
        late_s = max(user.last_us - at_us, 0) / MICROSECONDS if user.count > 0 else 0.0
        for t in range(TYPES):
            if user.type_last_s[t] != 0:
                row[layout.since_offset + t] = max(at_us // MICROSECONDS - np.int64(user.type_last_s[t]), 0)
    sequence = row[layout.sequence_offset : layout.sequence_offset + SEQUENCES]
    sequence_before(table, slots, cols, i, layout.named, sequence)
    for k in range(slots.size):
        if slots[k] >= 0:
            record = table.records[slots[k]]
            _before(record, cols, i, scratch, row[k * size : (k + 1) * size])
            _update(record, cols, i, late_full_us)
            t = cols.op[i]
            record.type_last_s[t] = max(np.uint32(max(at_us // MICROSECONDS, 1)), record.type_last_s[t])
    if slots[0] >= 0:
        if cols.op[i] == PROMO:
            _redeem(table, table.records[slots[0]], at_us)
        _link(table, slots, cols, i, layout, row)
    for k in range(slots.size):
        if slots[k] >= 0:
            linked = k == 0 or layout.strength[k] != 0
            _after(table.records[slots[k]], at_us, linked, k == 0, row[k * size : (k + 1) * size])
    if slots[0] >= 0:
        _user_blocks(table.records[slots[0]], at_us, layout, row)
    _event_block(slots, cols, i, layout, late_s, row)
    sequence_after(table, slots, at_us, layout.named, sequence)


@compiled
def _label(table: Table, cols: Columns, i: int, layout: Layout) -> None:
    for k in range(cols.keys.shape[1]):
        if cols.keys[i, k] == 0:
            continue
        slot = find(table, cols.keys[i, k])
        if slot >= 0:
            add_label(table, slot, cols.op[i] == LABEL_FRAUD, cols.at_us[i] // MICROSECONDS, layout.crowded[k])


@compiled
def run(
    table: Table, cols: Columns, layout: Layout, late_full_us: int, features: NDArray[np.float32], seen: Seen
) -> None:
    """Apply all rows in order. `features` (events, size) float32, filled with NaN by the caller; labels take no row. `seen` has room for
    the events, or for none: then links are not noted."""
    work = (np.empty(cols.keys.shape[1], np.int64), np.empty(16, np.float64))
    row = 0
    for i in range(cols.op.size):
        if cols.op[i] >= LABEL_FRAUD:
            _label(table, cols, i, layout)
        else:
            _event(table, cols, i, layout, late_full_us, work, features[row])
            if seen.ends.size > 0:
                note(table, work[0], layout.strength, row, seen)
            row += 1
