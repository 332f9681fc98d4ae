"""The network evaluated by compiled loops: each row by itself, in fixed order, so that the same row gives the same bits in any
batch. What is computed is what `gnn.net` says."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gnn.compiled import compiled
from ringwatch.model import MICROSECONDS

F = NDArray[np.float32]
DECAYS_S = (3600.0, 86_400.0, 604_800.0, 2_592_000.0)
WAVES = 4
TIMES = 1 + len(DECAYS_S) + WAVES
LEAK = np.float32(0.2)
CLIP = 5.0
"""Standardised inputs are at most this."""
_f32: Any = np.float32


class Gather(NamedTuple):
    """How messages are put together; of what an aggregation does not use there is one 0."""

    query: F
    """(kinds, inputs, width)"""
    query_bias: F
    attention: F
    """(width,)"""
    key: F
    """(width, width)"""
    key_bias: F


class Tell(NamedTuple):
    """What a message is made of, by kind of the entity it goes to."""

    x: F
    """(kinds, inputs, width)"""
    x_bias: F
    time: F
    """(kinds, TIMES, width)"""
    time_bias: F
    state: F
    """(3, width): by what is known of the event's label."""
    position: F
    """(12 or 8, width): the latest first."""


class Weights(NamedTuple):
    """All of the network; every array C-contiguous float32."""

    x_mean: F
    x_scale: F
    own_mean: F
    own_scale: F
    dense_mean: F
    dense_scale: F
    type: F
    """(types, width)"""
    frequency: F
    phase: F
    event: Tell
    told: Tell
    gather_events: Gather
    gather_told: Gather
    gather_met: Gather
    first: F
    first_bias: F
    relation: F
    """(kinds * kinds, width, width): from the kind it goes to, times kinds, plus the kind it comes from."""
    relation_bias: F
    relation_time: F
    relation_time_bias: F
    second: F
    second_bias: F
    new: F
    new_bias: F
    head_0: F
    """(inputs, hidden)"""
    head_0_bias: F
    head_1: F
    head_1_bias: F
    head_2: F
    """(width,)"""
    head_2_bias: F
    """(1,)"""


@compiled
def _standard(x: Any, mean: Any, scale: Any) -> Any:
    return min(max((x - mean) * scale, _f32(-CLIP)), _f32(CLIP))


@compiled
def _ages(age_us: Any, frequency: Any, phase: Any, out: Any) -> None:
    age_s = _f32(age_us / MICROSECONDS)
    log = _f32(math.log1p(age_s))
    out[0] = log * _f32(0.1)
    for t in range(len(DECAYS_S)):
        out[1 + t] = math.exp(age_s * _f32(-1.0 / DECAYS_S[t]))
    for t in range(WAVES):
        out[1 + len(DECAYS_S) + t] = math.cos(log * frequency[t] + phase[t])


@compiled
def _add(x: Any, weight: Any, out: Any) -> None:
    """out += x @ weight, row by row of the weight."""
    for i in range(x.shape[0]):
        v = x[i]
        for j in range(out.shape[0]):
            out[j] += v * weight[i, j]


@compiled
def _combine(code: Any, heads: Any, g: Any, kind: Any, pre: Any, n: Any, entity: Any, out: Any) -> None:
    """The first `n` of messages `pre`, before their activation, into `out`: of sage mean and maximum, else a weighted sum."""
    w = pre.shape[1]
    out[:] = 0.0
    if n == 0:
        return
    if code == 0:
        for p in range(n):
            for j in range(w):
                v = max(pre[p, j], _f32(0.0))
                out[j] += v
                out[w + j] = max(out[w + j], v)
        for j in range(w):
            out[j] /= _f32(n)
        return
    each = w // heads
    query, key = g.query_bias[kind].copy(), np.empty(w, np.float32)
    _add(entity, g.query[kind], query)
    logits = np.zeros((n, heads), np.float32)
    for p in range(n):
        if code == 2:
            key[:] = g.key_bias
            for i in range(w):
                v = max(pre[p, i], _f32(0.0))
                for j in range(w):
                    key[j] += v * g.key[i, j]
        for j in range(w):
            if code == 1:
                v = pre[p, j] + query[j]
                logits[p, j // each] += (v if v > 0.0 else LEAK * v) * g.attention[j]
            else:
                logits[p, j // each] += key[j] * query[j] * _f32((heads / w) ** 0.5)
    for h in range(heads):
        most, total = logits[:, h].max(), _f32(0.0)
        for p in range(n):
            logits[p, h] = math.exp(logits[p, h] - most)
            total += logits[p, h]
        for p in range(n):
            share = logits[p, h] / (total + _f32(1e-16))
            for j in range(h * each, (h + 1) * each):
                out[j] += max(pre[p, j], _f32(0.0)) * share


@compiled
def _told(
    w: Any, tell: Any, kind: Any, rows: Any, mark_us: Any, at: Any, known_only: Any, pre: Any, x: Any, time: Any
) -> Any:
    """Messages of the events `at` (rows, -1 past the end) into `pre`; returns how many."""
    n = 0
    for p in range(at.shape[0]):
        row = at[p]
        if row < 0:
            break
        seen = rows.known_us[row] <= mark_us
        if known_only and not seen:
            continue
        state = 1 + rows.label[row] if seen else 0
        for i in range(x.shape[0]):
            x[i] = _standard(rows.x[row, i], w.x_mean[i], w.x_scale[i])
        _ages(mark_us - rows.at_us[row], w.frequency, w.phase, time)
        out = pre[n]
        for j in range(out.shape[0]):
            out[j] = tell.x_bias[kind, j] + tell.time_bias[kind, j] + w.type[rows.type[row], j]
            out[j] += tell.state[state, j] + tell.position[p, j]
        _add(x, tell.x[kind], out)
        _add(time, tell.time[kind], out)
        n += 1
    return n


@compiled
def first_layer(
    w: Any, code: Any, heads: Any, rows: Any, mark_us: Any, kinds: Any, own: Any, events: Any, labelled: Any, out: Any
) -> None:
    """Entities from their own events, into `out` (m, width); arguments as in `gnn.book.Refresh`."""
    width = out.shape[1]
    gathered = 2 * width if code == 0 else width
    joined = np.empty(own.shape[1] + 2 * gathered, np.float32)
    pre = np.empty((max(events.shape[1], labelled.shape[1]), width), np.float32)
    x, time = np.empty(w.x_mean.shape[0], np.float32), np.empty(TIMES, np.float32)
    for i in range(out.shape[0]):
        kind, start = kinds[i], own.shape[1]
        for j in range(start):
            joined[j] = _standard(own[i, j], w.own_mean[j], w.own_scale[j])
        n = _told(w, w.event, kind, rows, mark_us[i], events[i], False, pre, x, time)
        _combine(code, heads, w.gather_events, kind, pre, n, joined[:start], joined[start : start + gathered])
        n = _told(w, w.told, kind, rows, mark_us[i], labelled[i], True, pre, x, time)
        _combine(code, heads, w.gather_told, kind, pre, n, joined[:start], joined[start + gathered :])
        out[i] = w.first_bias[kind]
        _add(joined, w.first[kind], out[i])
        for j in range(width):
            out[i, j] = max(out[i, j], _f32(0.0))


@compiled
def second_layer(
    w: Any,
    code: Any,
    heads: Any,
    kinds: Any,
    first: Any,
    where: Any,
    met: Any,
    met_kind: Any,
    met_age_us: Any,
    out: Any,
) -> None:
    """Entities from those they met, into `out` (m, width). `first`: (any, width), of which theirs are at `where` (m,) and those of
    the met at `met` (m, 5), -1 for none."""
    width, types = out.shape[1], w.first.shape[0]
    gathered = 2 * width if code == 0 else width
    joined = np.empty(width + gathered, np.float32)
    pre, time = np.empty((met.shape[1], width), np.float32), np.empty(TIMES, np.float32)
    for i in range(out.shape[0]):
        kind, n = kinds[i], 0
        joined[:width] = first[where[i]]
        for p in range(met.shape[1]):
            if met[i, p] < 0:
                continue
            relation = kind * types + met_kind[i, p]
            _ages(met_age_us[i, p], w.frequency, w.phase, time)
            for j in range(width):
                pre[n, j] = w.relation_bias[relation, j] + w.relation_time_bias[relation, j]
            _add(first[met[i, p]], w.relation[relation], pre[n])
            _add(time, w.relation_time[relation], pre[n])
            n += 1
        _combine(code, heads, w.gather_met, kind, pre, n, joined[:width], joined[width:])
        for j in range(width):
            out[i, j] = w.second_bias[kind, j] + joined[j]
        _add(joined, w.second[kind], out[i])


@compiled
def head(
    w: Any, x: Any, types: Any, entity: Any, where: Any, age_us: Any, dense: Any, embedded: Any, slots: Any, margin: Any
) -> None:
    """Events to `slots` (n, kinds, width), the embeddings of their entities, new ones told from the event and those it meets; and
    `margin` (n,), log-odds. `where`: (n, kinds), rows of `embedded`, -1 for none."""
    inputs, kinds, width, m = x.shape[1], where.shape[1], embedded.shape[1], dense.shape[1]
    told = np.empty(inputs + width, np.float32)
    joined = np.empty(w.head_0.shape[0], np.float32)
    hidden, last = np.empty(w.head_0.shape[1], np.float32), np.empty(w.head_1.shape[1], np.float32)
    for i in range(x.shape[0]):
        known = 0
        told[inputs:] = 0.0
        for k in range(kinds):
            slots[i, k] = 0.0
            if where[i, k] >= 0:
                known += 1
                slots[i, k] = embedded[where[i, k]]
                for j in range(width):
                    told[inputs + j] += slots[i, k, j]
        for j in range(inputs):
            told[j] = _standard(x[i, j], w.x_mean[j], w.x_scale[j])
        for j in range(width):
            told[inputs + j] /= _f32(max(known, 1))
        at = kinds * width
        for k in range(kinds):
            fresh = entity[i, k] >= 0 and where[i, k] < 0
            if fresh:
                slots[i, k] = w.new_bias[k]
                _add(told, w.new[k], slots[i, k])
                for j in range(width):
                    slots[i, k, j] = max(slots[i, k, j], _f32(0.0))
            joined[k * width : (k + 1) * width] = slots[i, k]
            joined[at + k] = _f32(math.log1p(_f32(age_us[i, k] / MICROSECONDS))) * _f32(0.1)
            joined[at + kinds + k] = fresh
        at += 2 * kinds
        joined[at : at + inputs] = told[:inputs]
        at += inputs
        joined[at : at + width] = w.type[types[i]]
        at += width
        for j in range(m):
            missing = math.isnan(dense[i, j])
            joined[at + j] = _f32(0.0) if missing else _standard(dense[i, j], w.dense_mean[j], w.dense_scale[j])
            joined[at + m + j] = missing
        hidden[:] = w.head_0_bias
        _add(joined, w.head_0, hidden)
        for j in range(hidden.shape[0]):
            hidden[j] = max(hidden[j], _f32(0.0))
        last[:] = w.head_1_bias
        _add(hidden, w.head_1, last)
        total = w.head_2_bias[0]
        for j in range(last.shape[0]):
            total += max(last[j], _f32(0.0)) * w.head_2[j]
        margin[i] = total
