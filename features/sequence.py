"""What came before an event in its sequences: payments without orders, holds without purchases, a session that moved.

State is kept in the records of the user, session, device, card, address, sku and merchant. `sequence_before` compares with
the past and updates; `sequence_after` counts from the last events, this one included. Columns: `SEQUENCE_BLOCK` in
features/schema.py, in that order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from features.compiled import compiled
from features.index import Table
from features.profile import haversine_km
from features.record import ORDER_BYTES, RECENT_FAIL, SHORT_US, SIGNUP
from features.schema import SEQUENCE_BLOCK
from ringwatch.model import DAY_US, HOUR_US, MICROSECONDS, TYPE_CODES

NAMED = ("user", "device", "card", "address", "sku", "session", "merchant", "ip")
"""Kinds whose sequences are kept, in the order of `Layout.named`."""
SEQUENCES = len(SEQUENCE_BLOCK)
USER, DEVICE, CARD, ADDRESS, SKU, SESSION, MERCHANT, IP = range(8)
_LOGIN, _CHANGE = TYPE_CODES["login"], TYPE_CODES["profile_change"]
_PAYMENT, _ORDER, _REFUND = TYPE_CODES["payment"], TYPE_CODES["order"], TYPE_CODES["refund"]
_HOLD, _PRICE = TYPE_CODES["cart_hold"], TYPE_CODES["price_change"]
_HOUR_S = HOUR_US // MICROSECONDS
_DAY_S = DAY_US // MICROSECONDS
_HOP_KM, _SAME_KM = 250.0, 100.0
_HOP_US = 6 * HOUR_US
_HOP_KMH = 350.0
"""Door to door; by air with the ways to and from the airport it is less."""
_FULL = 255


@compiled
def sequence_before(table: Table, slots: Any, cols: Any, i: int, named: Any, out: Any) -> None:
    """Everything that needs the records as they were before this event; updates what sequences keep.

    out: 6 failed_logins, 7 profile_changes (after), 8 hops, 9:12 hold runs, 12:16 sku runs, 16 agents, 17:21 session,
    21:23 price, 23:25 merchant, 25 refund_unknown, 26 paid_share.
    """
    at_us, op = cols.at_us[i], cols.op[i]
    at_s = at_us // MICROSECONDS
    user = _slot(slots, named[USER])
    if user >= 0:
        out[8] = _hops(table.records[user], cols, i)
        if cols.order[i] != 0:
            _orders(table.records[user], cols, i, out)
    if op in (_HOLD, _ORDER, _PAYMENT):
        _holds(table, slots, named, op, at_s)
    if op == _ORDER:
        _sku_runs(table, slots, named, cols, i)
    for j, kind in ((9, USER), (10, DEVICE), (11, SKU)):
        slot = _slot(slots, named[kind])
        if slot >= 0:
            out[j] = table.records[slot].holds
    for j, kind in ((12, USER), (13, DEVICE), (14, CARD), (15, ADDRESS)):
        slot = _slot(slots, named[kind])
        if slot >= 0:
            out[j] = table.records[slot].sku_run
    device = _slot(slots, named[DEVICE])
    if device >= 0:
        out[16] = _agents(table.records[device], cols.agent[i])
    session = _slot(slots, named[SESSION])
    if session >= 0:
        _session(table.records[session], cols, i, named, out[17:21])
    sku = _slot(slots, named[SKU])
    if sku >= 0:
        _price(table.records[sku], cols, i, at_s, out[21:23])
    merchant = _slot(slots, named[MERCHANT])
    if merchant >= 0:
        paired = user >= 0 and _since(table.records[user], _ORDER, at_s) <= _HOUR_S
        _merchant(table.records[merchant], op == _PAYMENT, paired, out[23:25])
    price = cols.unit_price[i] * (cols.quantity[i] if cols.quantity[i] > 0 else 1.0)
    if op == _ORDER and price > 0.0:
        out[26] = cols.amount[i] / price


@compiled
def sequence_after(table: Table, slots: Any, at_us: int, named: Any, out: Any) -> None:
    """Counts over the last events: out[0:6] pay runs of user, device, card; 6 failed logins; 7 profile changes."""
    for j in range(3):
        slot = _slot(slots, named[j])
        if slot >= 0:
            out[2 * j], out[2 * j + 1] = _pay_runs(table.records[slot], at_us)
    user = _slot(slots, named[USER])
    if user < 0:
        return
    record = table.records[user]
    failed, changes = 0.0, 0.0
    for n in range(np.int64(record.recent)):
        t, code = record.recent_us[n], np.int64(record.recent_code[n])
        if t > at_us:
            continue
        if code >> 2 == _LOGIN and code & RECENT_FAIL and at_us - t < HOUR_US:
            failed += 1.0
        if code >> 2 == _CHANGE and not code & RECENT_FAIL and at_us - t < DAY_US:
            changes += 1.0
    out[6], out[7] = failed, changes


@compiled
def _slot(slots: Any, kind: int) -> int:
    return int(slots[kind]) if kind >= 0 else -1


@compiled
def _since(record: Any, op: int, at_s: int) -> float:
    """Seconds since the record's last event of a type; infinite without one."""
    last_s = np.int64(record.type_last_s[op])
    return float(max(at_s - last_s, 0)) if last_s != 0 else math.inf


@compiled
def _pay_runs(record: Any, at_us: int) -> tuple[float, float]:
    """Approved payments since the last order within 10 min and 1 h."""
    short, long = 0.0, 0.0
    for n in range(np.int64(record.recent) - 1, -1, -1):
        t, code = record.recent_us[n], np.int64(record.recent_code[n])
        if t > at_us:
            continue
        if at_us - t >= SHORT_US[2] or code >> 2 == _ORDER:
            break
        if code >> 2 == _PAYMENT and not code & RECENT_FAIL:
            long += 1.0
            if at_us - t < SHORT_US[1]:
                short += 1.0
    return short, long


@compiled
def _hops(record: Any, cols: Any, i: int) -> float:
    """Moves in a row, each far, faster than a traveller, and not back to the place before (a tunnel switched on and off)."""
    at_us, lat, lon = cols.at_us[i], cols.lat[i], cols.lon[i]
    if not (lat == lat and lon == lon) or at_us < record.place_us:
        return float(record.hops)
    if record.place_us == 0:
        record.far_lat, record.far_lon = lat, lon
        return 0.0
    if at_us - record.place_us > _HOP_US:
        record.hops = 0
    km = haversine_km(record.place_lat, record.place_lon, lat, lon)
    if km > _HOP_KM:
        hours = max(at_us - record.place_us, 60 * MICROSECONDS) / HOUR_US
        if haversine_km(record.far_lat, record.far_lon, lat, lon) < _SAME_KM:
            record.hops = 0
        elif km / hours >= _HOP_KMH and record.hops < _FULL:
            record.hops += 1
        record.far_lat, record.far_lon = record.place_lat, record.place_lon
    return float(record.hops)


@compiled
def _orders(user: Any, cols: Any, i: int, out: Any) -> None:
    op, code = cols.op[i], np.int64(cols.order[i])
    known = True
    for shift in (0, 7):
        bit = (code >> shift) & (8 * ORDER_BYTES - 1)
        mask = np.uint8(1 << (bit & 7))
        if not user.orders[bit >> 3] & mask:
            known = False
            if op in (_ORDER, _PAYMENT):
                user.orders[bit >> 3] |= mask
    if op == _REFUND and user.type_last_s[SIGNUP] != 0:
        out[25] = 0.0 if known else 1.0


@compiled
def _holds(table: Table, slots: Any, named: Any, op: int, at_s: int) -> None:
    for kind in (USER, DEVICE, SKU):
        slot = _slot(slots, named[kind])
        if slot < 0:
            continue
        record = table.records[slot]
        if op != _HOLD:
            record.holds = 0
        else:
            if _since(record, _HOLD, at_s) > 6 * _HOUR_S:
                record.holds = 0
            if record.holds < _FULL:
                record.holds += 1


@compiled
def _sku_runs(table: Table, slots: Any, named: Any, cols: Any, i: int) -> None:
    at_s = cols.at_us[i] // MICROSECONDS
    sku = np.uint32(0)
    if named[SKU] >= 0:
        sku = np.uint32(cols.keys[i, named[SKU]] & np.uint64(0xFFFFFFFF))
    for kind in (USER, DEVICE, CARD, ADDRESS):
        slot = _slot(slots, named[kind])
        if slot < 0:
            continue
        record = table.records[slot]
        if sku == 0:
            record.sku_run = 0
        elif sku != record.last_sku or _since(record, _ORDER, at_s) > 7 * _DAY_S:
            record.sku_run = 1
        elif record.sku_run < _FULL:
            record.sku_run += 1
        record.last_sku = sku


@compiled
def _agents(device: Any, agent: int) -> float:
    if agent != 0:
        if device.agent != 0 and device.agent != agent and device.agents < _FULL:
            device.agents += 1
        device.agent = agent
    return float(device.agents)


@compiled
def _session(session: Any, cols: Any, i: int, named: Any, out: Any) -> None:
    """out[0:4] = device_changed, ip_changed, agent_changed, basket. The first device, ip and browser are its origin."""
    device, ip = np.uint32(0), np.uint32(0)
    if named[DEVICE] >= 0:
        device = np.uint32(cols.keys[i, named[DEVICE]] & np.uint64(0xFFFFFFFF))
    if named[IP] >= 0:
        ip = np.uint32(cols.keys[i, named[IP]] & np.uint64(0xFFFFFFFF))
    if session.origin_device == 0:
        session.origin_device = device
    if session.origin_ip == 0:
        session.origin_ip = ip
    if session.agent == 0:
        session.agent = cols.agent[i]
    out[0] = 1.0 if device != 0 and device != session.origin_device else 0.0
    out[1] = 1.0 if ip != 0 and ip != session.origin_ip else 0.0
    out[2] = 1.0 if cols.agent[i] != 0 and cols.agent[i] != session.agent else 0.0
    out[3] = session.basket
    if cols.basket[i] == 1 or cols.op[i] in (_ORDER, _HOLD):
        session.basket = 1


@compiled
def _price(sku: Any, cols: Any, i: int, at_s: int, out: Any) -> None:
    """out[0:2] = price_ratio, price_age_s."""
    price = cols.unit_price[i]
    if cols.op[i] == _PRICE and price == price and at_s >= np.int64(sku.price_s):
        sku.price_before = sku.price
        sku.price = price
        sku.price_s = max(at_s, 1)
    elif cols.op[i] == _ORDER and price == price and sku.price_s == 0:
        sku.price = price
    if sku.price_s != 0:
        if sku.price_before > 0.0:
            out[0] = sku.price / sku.price_before
        out[1] = max(at_s - np.int64(sku.price_s), 0)


@compiled
def _merchant(merchant: Any, payment: bool, paired: bool, out: Any) -> None:
    """out[0:2] = paired_share, paired_of, of the payments before this one."""
    if merchant.paid_n > 0:
        out[0] = merchant.paired_n / merchant.paid_n
    out[1] = merchant.paid_n
    if payment:
        merchant.paid_n += 1
        if paired:
            merchant.paired_n += 1
