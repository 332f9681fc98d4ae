"""The books kept beside entities: what each has seen lately, fed in order, and what of it an embedding is made of at a mark.

Marks lie at multiples of an interval. What is computed at a mark knows events and labels up to it, the mark's own instant
included, and counts for events strictly after it, or after the mark that follows (`GraphSchema.later`). Only entities that something
happened to since are refreshed, and those last met by one that a fraud label is about. How a stream is cut into batches changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn.compiled import compiled
from gnn.history import FRAUD, Batch, Labels
from gnn.records import Entities, Placed, Refresh, Rows, entities_of, grown, matching, rows_of
from gnn.schema import COMMON, OWN, SLOT, GraphSchema
from ringwatch.errors import BadInput
from ringwatch.model import DAY_US, HOUR_US, MICROSECONDS

_LONG_AGO_US = np.iinfo(np.int64).min
_RATES_US = (HOUR_US, DAY_US, 7 * DAY_US)
_COMMON, _SLOT = len(COMMON), len(SLOT)
_DAY = 2.0 * math.pi / DAY_US
_OLD_US = 7 * DAY_US
_MANY = 20


class Book:
    """Feed it a stream in order; it calls `refresh` at every mark at which something is due, before the first event after it."""

    def __init__(self, schema: GraphSchema, *, keeps_rows: bool = False) -> None:
        """`keeps_rows`: all of them, also those that are forgotten."""
        self.schema = schema
        self._keeps_rows = keeps_rows
        self.base = 0
        """Row of the first one in `rows`."""
        self.rows = rows_of(0, schema)
        self.entities = entities_of(0, schema)
        self.used = 0
        """Rows so far."""
        self.versions = 0
        """Embeddings so far."""
        self._due_us = self._now_us = _LONG_AGO_US
        self._crowded = np.array(schema.crowded, np.bool_)
        self._touched = np.zeros(0, np.int32)
        self._n_touched = 0

    def apply(self, batch: Batch, labels: Labels, refresh: Callable[[Refresh, Placed], None]) -> Placed:
        """Events and labels, each in order. A label comes after all events of its time; it may be about an event of this batch or
        an earlier one. What is earlier than what came before is taken as of then. `refresh` is given what a mark's embeddings
        are made of, and the events of this batch so far."""
        n = len(batch)
        self._check(batch, labels)
        self._drop_rows()
        self.reserve(self.used - self.base + n, int(batch.entity.max(initial=-1)) + 1)
        version = np.full((n, len(self.schema.kinds)), -1, np.int64)
        age_us = np.zeros(version.shape, np.int64)
        place = np.full(version.shape, -1, np.int64)
        later_us = self.schema.later * self.schema.mark_us
        first, i, j = self.used, 0, 0
        x = self.rows.x[first - self.base : first - self.base + n]
        while True:
            i, j, next_us, self._n_touched, self._now_us = _advance(
                self.entities, self.rows, batch.at_us, batch.type, batch.amount_log, batch.failed, batch.entity, batch.token,
                labels.row, labels.value, labels.known_us, i, j, first, self.base, self.schema.memory, self._due_us, self._now_us, self._crowded,
                self._touched, self._n_touched, later_us, version, age_us, place,
            )  # fmt: skip
            if i == n and j == len(labels):
                break
            if self._n_touched:
                self.used = first + i
                refresh(self.snapshot(), Placed(x[:i], version[:i], age_us[:i], place[:i]))
            mark = self.schema.mark_us
            self._due_us = -(-next_us // mark) * mark
        self.used = first + n
        return Placed(x, version, age_us, place)

    def forgotten(self) -> NDArray[np.int64]:
        """Entities of which nothing is remembered: their numbers may be given to others."""
        e = self.entities
        return np.flatnonzero((e.seen > 0) & (e.last_row < self.used - self.schema.memory) & ~e.touched)

    def _drop_rows(self) -> None:
        """Those that are forgotten, once they are as many as those that are not."""
        base = self.used - self.schema.memory
        if self._keeps_rows or base - self.base < self.schema.memory:
            return
        self.rows = Rows._make(a[base - self.base : self.used - self.base].copy() for a in self.rows)
        self.base = base

    def dump(self) -> dict[str, NDArray[Any]]:
        """All it keeps, for `load`."""
        return {
            **{f"rows.{name}": a[: self.used - self.base].copy() for name, a in self.rows._asdict().items()},
            **{f"entities.{name}": a.copy() for name, a in self.entities._asdict().items()},
            "touched": self._touched[: self._n_touched].copy(),
            "clock": np.array([self.base, self.versions, self._due_us, self._now_us], np.int64),
        }

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """What `dump` of a book of this schema gave. Raises KeyError or ValueError for anything else."""
        used, many = len(arrays["rows.at_us"]), len(arrays["entities.kind"])
        rows, entities = rows_of(used, self.schema)._asdict(), entities_of(many, self.schema)._asdict()
        self.rows = Rows(**{name: matching(arrays[f"rows.{name}"], like) for name, like in rows.items()})
        self.entities = Entities(
            **{name: matching(arrays[f"entities.{name}"], like) for name, like in entities.items()}
        )
        self._n_touched = len(arrays["touched"])
        self._touched = np.zeros(many, np.int32)
        self._touched[: self._n_touched] = arrays["touched"]
        self.base, self.versions, self._due_us, self._now_us = arrays["clock"].tolist()
        self.used = self.base + used

    def snapshot(self) -> Refresh:
        """What the embeddings of those touched since the last mark are made of; nobody is touched then."""
        some = self._touched[: self._n_touched].copy()
        caps, m = self.schema.caps, len(some)
        out = Refresh(
            np.full(m, self._due_us), some, self.entities.kind[some], np.zeros((m, len(OWN)), np.float32),
            np.full((m, caps.events), -1, np.int32), np.full((m, caps.labelled), -1, np.int32),
            np.full((m, caps.neighbours), -1, np.int32), np.full((m, caps.neighbours), -1, np.int64),
            np.zeros((m, caps.neighbours), np.int64), np.zeros(m, np.int64),
        )  # fmt: skip
        _read(self.entities, self._due_us, self.versions, self.base, self.used - self.schema.memory, out)
        self.versions += m
        self._n_touched = 0
        return out

    def _check(self, batch: Batch, labels: Labels) -> None:
        if batch.entity.shape[1:] != (len(self.schema.kinds),):
            raise BadInput(
                f"events of {batch.entity.shape[1]} kinds for a network of {len(self.schema.kinds)}",
                hint=f"its kinds are {', '.join(self.schema.kinds)}",
            )
        if len(labels) and (labels.row.max() >= self.used + len(batch) or labels.row.min() < 0):
            raise BadInput(f"a label is about event {labels.row.max()}, not seen yet", hint="feed events before labels")

    def reserve(self, rows: int, entities: int) -> None:
        """Room for so many."""
        if rows > len(self.rows.at_us):
            self.rows = Rows(*grown(self.rows, rows_of(max(rows, 2 * len(self.rows.at_us)), self.schema)))
        if entities > len(self.entities.kind):
            size = max(entities, 2 * len(self.entities.kind))
            self.entities = Entities(*grown(self.entities, entities_of(size, self.schema)))
            self._touched = np.append(self._touched, np.zeros(size - len(self._touched), np.int32))


@compiled
def _log_s(us: Any) -> Any:
    return math.log1p(max(us, 0) / MICROSECONDS)


@compiled
def _thinned(e: Any, at_us: Any, entity: Any, token: Any) -> Any:
    """Whether a crowded entity leaves this event out: it keeps one in 2^k, so that its last ones span about a day."""
    heat = e.rates[entity, 1] * math.exp(-max(at_us - e.last_us[entity], 0) / _RATES_US[1])
    cap = e.events.shape[1]
    if heat < 2.0 * cap:
        return False
    level = min(int(math.log2(heat / cap)), 40)
    return token & np.uint64((1 << level) - 1) != 0


@compiled
def _greet(e: Any, row: Any, oldest: Any, one: Any) -> None:
    """An entity of the event `row`: nothing is left of one not seen since `oldest`."""
    if e.seen[one] > 0 and e.last_row[one] < oldest:
        e.seen[one] = e.kept[one] = e.told[one] = 0
        e.amount[one], e.rates[one], e.met[one] = 0.0, 0.0, -1
        e.version[one] = e.before[one] = -1
    if e.seen[one] == 0:
        e.born[one] = row
    e.last_row[one] = row


@compiled
def _knows(e: Any, one: Any, p: Any) -> Any:
    """Whether the entity in place `p` of those last met is the one that was met, not one that was new since."""
    other = e.met[one, p]
    return other >= 0 and e.met_row[one, p] >= e.born[other]


@compiled
def _meet(e: Any, entity: Any, other: Any, at_us: Any, row: Any) -> None:
    """`other` moves to the front of those last met."""
    met, met_us, met_row = e.met[entity], e.met_us[entity], e.met_row[entity]
    place = met.shape[0] - 1
    for p in range(met.shape[0]):
        if met[p] == other and _knows(e, entity, p):
            place = p
            break
    for p in range(place, 0, -1):
        met[p], met_us[p], met_row[p] = met[p - 1], met_us[p - 1], met_row[p - 1]
    met[0], met_us[0], met_row[0] = other, at_us, row


@compiled
def _touch(e: Any, entity: Any, touched: Any, n: Any) -> Any:
    if e.touched[entity]:
        return n
    e.touched[entity] = True
    touched[n] = entity
    return n + 1


@compiled
def _describe(e: Any, at_us: Any, amount_log: Any, failed: Any, entity: Any, x: Any) -> None:
    """An event's inputs, before it changes anything."""
    missing = math.isnan(amount_log)
    x[0], x[1] = 0.0 if missing else amount_log, missing
    x[2], x[3] = failed == 1, failed >= 0
    day = at_us % DAY_US * _DAY
    x[4], x[5] = math.sin(day), math.cos(day)
    kinds = entity.shape[0]
    for k in range(kinds):
        to, one = x[_COMMON + _SLOT * k : _COMMON + _SLOT * (k + 1)], entity[k]
        to[:] = 0.0
        if one < 0:
            continue
        to[0] = 1.0
        if e.seen[one] == 0:
            continue
        gap_us = max(at_us - e.last_us[one], 0)
        to[1], to[2] = _log_s(min(at_us - e.first_us[one], _OLD_US)), _log_s(gap_us)
        to[3] = math.log1p(e.rates[one, 2] * math.exp(-gap_us / _RATES_US[2]))
        if not missing and e.amount[one, 0] > 0:
            to[4] = amount_log - e.amount[one, 1]
        others, known = 0, 0
        for other in entity:
            if other >= 0 and other != one:
                others += 1
                for p in range(e.met.shape[1]):
                    known += e.met[one, p] == other and _knows(e, one, p)
        if others:
            to[5] = known / others


@compiled
def _learn(e: Any, row: Any, at_us: Any, amount_log: Any, kind: Any, entity: Any, crowded: Any, token: Any) -> None:
    """The event into the books of the entity in slot `kind`."""
    one = entity[kind]
    keep = not (crowded and _thinned(e, at_us, one, token))
    if e.seen[one] == 0:
        e.kind[one], e.first_us[one], e.last_us[one] = kind, at_us, at_us
    elapsed = max(at_us - e.last_us[one], 0)
    for w in range(len(_RATES_US)):
        e.rates[one, w] = e.rates[one, w] * math.exp(-elapsed / _RATES_US[w]) + 1.0
    e.seen[one] += 1
    e.last_us[one] = max(at_us, e.last_us[one])
    if not math.isnan(amount_log):
        e.amount[one, 0] += 1.0
        e.amount[one, 1] += (amount_log - e.amount[one, 1]) / e.amount[one, 0]
    if not keep:
        return
    e.events[one, e.kept[one] % e.events.shape[1]] = row
    e.kept[one] += 1
    for other in entity:
        if other >= 0 and other != one:
            _meet(e, one, other, at_us, row)


@compiled
def _tell(
    e: Any, row: Any, at_us: Any, fraud: Any, entity: Any, crowded: Any, token: Any, oldest: Any, touched: Any, n: Any
) -> Any:
    """A label into the books of its event's entities; those last met by them hear of a fraud."""
    for k in range(entity.shape[0]):
        one = entity[k]
        if one < 0:
            continue
        n = _touch(e, one, touched, n)
        if fraud:
            for p in range(e.met.shape[1]):
                if _knows(e, one, p) and e.last_row[e.met[one, p]] >= oldest:
                    n = _touch(e, e.met[one, p], touched, n)
        if not (crowded[k] and _thinned(e, at_us, one, token)):
            e.labelled[one, e.told[one] % e.labelled.shape[1]] = row
            e.told[one] += 1
    return n


@compiled
def _advance(
    e: Any, rows: Any, at_us: Any, type_: Any, amount_log: Any, failed: Any, entity: Any, token: Any, label_row: Any,
    label_value: Any, label_us: Any, i: Any, j: Any, first: Any, base: Any, memory: Any, due_us: Any, now_us: Any, crowded: Any, touched: Any,
    n_touched: Any, later_us: Any, version: Any, age_us: Any, place: Any,
) -> Any:  # fmt: skip
    """Applies what comes up to the mark; returns how far it got, and when the first thing after the mark happens."""
    n, m, kinds = at_us.shape[0], label_us.shape[0], entity.shape[1]
    while i < n or j < m:
        label = j < m and (i == n or label_us[j] < at_us[i])
        t = max(label_us[j] if label else at_us[i], now_us)
        if t > due_us:
            return i, j, t, n_touched, now_us
        now_us = t
        if label:
            row, fraud, oldest = label_row[j], label_value[j] == FRAUD, first + i - memory
            to = row - base
            j += 1
            if row >= oldest and rows.label[to] < 0:
                rows.label[to], rows.known_us[to] = fraud, t
                n_touched = _tell(
                    e, row, t, fraud, rows.entity[to], crowded, rows.token[to], oldest, touched, n_touched
                )
            continue
        row, to = first + i, first + i - base
        rows.at_us[to], rows.type[to], rows.entity[to], rows.token[to] = t, type_[i], entity[i], token[i]
        for one in entity[i]:
            if one >= 0:
                _greet(e, row, row - memory, one)
        _describe(e, t, amount_log[i], failed[i], entity[i], rows.x[to])
        for k in range(kinds):
            one = entity[i, k]
            if one < 0 or e.version[one] < 0:
                continue
            if t > e.mark_us[one] + later_us:
                version[i, k], age_us[i, k], place[i, k] = e.version[one], t - e.mark_us[one], 2 * one + e.side[one]
            elif e.before[one] >= 0:
                version[i, k], age_us[i, k], place[i, k] = (
                    e.before[one],
                    t - e.before_us[one],
                    2 * one + 1 - e.side[one],
                )
        for k in range(kinds):
            if entity[i, k] >= 0:
                _learn(e, row, t, amount_log[i], k, entity[i], crowded[k], token[i])
                n_touched = _touch(e, entity[i, k], touched, n_touched)
        i += 1
    return i, j, now_us, n_touched, now_us


@compiled
def _last(ring: Any, put: Any, base: Any, oldest: Any, out: Any) -> None:
    """Where the rows of a ring are, the latest first, none before `oldest`."""
    size, n = ring.shape[0], 0
    for p in range(min(put, size)):
        row = ring[(put - 1 - p) % size]
        if row >= oldest:
            out[n] = row - base
            n += 1


@compiled
def _read(e: Any, mark_us: Any, versions: Any, base: Any, oldest: Any, out: Any) -> None:
    """Numbers the entities' new embeddings, and writes what they are made of."""
    for i in range(out.entity.shape[0]):
        one = out.entity[i]
        e.before[one], e.before_us[one], e.side[one] = e.version[one], e.mark_us[one], 1 - e.side[one]
        e.version[one], e.mark_us[one], e.touched[one] = versions + i, mark_us, False
        out.place[i] = 2 * one + e.side[one]
    for i in range(out.entity.shape[0]):
        one, own = out.entity[i], out.own[i]
        own[0] = math.log1p(min(e.seen[one], _MANY))
        own[1], own[2] = _log_s(min(mark_us - e.first_us[one], _OLD_US)), _log_s(mark_us - e.last_us[one])
        for w in range(len(_RATES_US)):
            own[3 + w] = math.log1p(e.rates[one, w] * math.exp(-max(mark_us - e.last_us[one], 0) / _RATES_US[w]))
        _last(e.events[one], e.kept[one], base, oldest, out.events[i])
        _last(e.labelled[one], e.told[one], base, oldest, out.labelled[i])
        for p in range(out.met.shape[1]):
            other = e.met[one, p]
            if _knows(e, one, p) and e.last_row[other] >= oldest:
                out.met[i, p], out.met_version[i, p] = other, e.version[other]
                out.met_age_us[i, p] = mark_us - e.met_us[one, p]
