"""Fitting the network to a history: supervised by the labels of some rows, self-supervised by all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from gnn.batches import Hiding, graph_of
from gnn.history import FRAUD, History, fingerprint
from gnn.net import Net, Sample, sample_of, weights_of
from gnn.network import Gnn
from gnn.options import USUAL, Options
from gnn.records import Replay
from gnn.replay import replay
from gnn.resume import Fit, resume, store
from gnn.schema import GraphSchema, Shape, mark_interval_us
from ringwatch.errors import BadInput
from ringwatch.model import HOUR_US

_LEAST_FRAUDS = 8
"""In either part, for a validation block to choose the epoch."""
_LEAST_GOODS = 2000
"""That choose the epoch, where there are so many."""
_ALL_SEEN = Hiding()
Array = NDArray[Any]
Progress = Callable[[int, int, float], None]
"""Told after each epoch: epochs done, epochs at most, the validation's average precision (NaN without a block)."""


@dataclass(frozen=True, slots=True)
class Given:
    """What training sees: a replay, the rows that train and choose, and the caller's features of them."""

    shape: Shape
    replay: Replay
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    pool: NDArray[np.int64]
    """Rows of self-supervision: all from the first to the last that trains."""
    fraud: NDArray[np.bool_]
    """(events,)"""
    dense: Tensor
    """(rows given + 1, features): the last row is missing."""
    dense_at: NDArray[np.int64]
    """(events,): where a row's features are."""

    def sample(self, rows: NDArray[np.int64], hiding: Hiding, device: torch.device) -> Sample:
        graph = graph_of(self.replay, rows, hiding)
        return sample_of(self.shape, graph, self.replay.rows, self.dense[self.dense_at[rows]], device)


def fit(
    history: History, rows: NDArray[np.int64], labels: Array, features: NDArray[np.float32] | None = None, *, seed: int,
    names: tuple[str, ...] | None = None, valid: NDArray[np.int64] | None = None, options: Options = USUAL,
    progress: Progress | None = None, state: Path | None = None, schema: GraphSchema | None = None, done: Replay | None = None,
) -> Gnn:  # fmt: skip
    """Learns from events `rows` of a history with `labels` (1 fraud, 0 good) and `features` (rows, m), named or numbered.

    `valid`: rows that choose the epoch, among `rows`; else the last of them in time; with none of them `options.epochs` are done. `done`:
    the history's replay by `schema`. Label states come from the history's labels, each as of the mark. `state`: a folder where a file, named
    by what the training is of, holds it after each epoch; where that is there, training goes on from it, to the same weights as without a
    break. On a CPU the same seed gives the same weights.
    """
    rows, labels, features, names = _checked(history, rows, labels, features, names)
    last_us = history.events.at_us[rows[-1]]
    if schema is None:
        past = history.events.at_us[: np.searchsorted(history.events.at_us, last_us, "right")]
        schema = GraphSchema(history.kinds, history.crowded, mark_interval_us(past))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    done = replay(history, schema) if done is None else done
    given = _given(history, schema, done, rows, labels, features, valid, options)
    print_of = fingerprint(history, rows, labels, features)
    fitted = _begin(given, options, seed, device)
    chosen_by = hashlib.blake2b(given.valid.tobytes(), digest_size=8).hexdigest()
    key = {"data": print_of, "valid": chosen_by, "seed": seed, "schema": schema.hash, "options": asdict(options)}
    path = None if state is None else state / f"{_hash(key)}.safetensors"
    if path is not None:
        resume(fitted, path, key)
    while fitted.epoch < options.epochs and not (
        len(given.valid) and fitted.epoch - fitted.best_epoch >= options.patience
    ):
        run_epoch(fitted, given, options, seed, device)
        precision = _judge(fitted, given, device)
        if path is not None:
            store(fitted, path, key)
        if progress is not None:
            progress(fitted.epoch, options.epochs, precision)
    fitted.net.load_state_dict(fitted.weights)
    card = {
        "seed": seed, "data": print_of, "options": asdict(options), "events": len(history.events), "rows": len(rows),
        "frauds": int(labels.sum()), "first_us": int(history.events.at_us[rows[0]]), "last_us": int(last_us),
        "epochs": fitted.epoch, "best_epoch": fitted.best_epoch, "valid_rows": len(given.valid),
        "valid_average_precision": fitted.best if len(given.valid) else None,
    }  # fmt: skip
    return Gnn(schema, given.shape, weights_of(fitted.net), names, card)


def _hash(key: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()


def _checked(
    history: History,
    rows: NDArray[np.int64],
    labels: Array,
    features: NDArray[np.float32] | None,
    names: tuple[str, ...] | None,
) -> tuple[NDArray[np.int64], Array, NDArray[np.float32], tuple[str, ...]]:
    """In order of rows."""
    rows, labels = np.asarray(rows, np.int64), np.asarray(labels)
    features = np.zeros((len(rows), 0), np.float32) if features is None else np.asarray(features, np.float32)
    names = tuple(f"f{j}" for j in range(features.shape[1])) if names is None else tuple(names)
    if len(labels) != len(rows) or len(features) != len(rows) or len(names) != features.shape[1]:
        raise BadInput(
            f"{len(rows)} rows, {len(labels)} labels, features of shape {features.shape} with {len(names)} names",
            hint="give one label and one row of features for each row",
        )
    if not len(rows) or rows.min() < 0 or rows.max() >= len(history.events) or len(np.unique(rows)) < len(rows):
        raise BadInput("rows to train on are none, twice, or not in the history", hint="number events from 0")
    if not np.isin(labels, (0, 1)).all() or len(np.unique(labels)) < 2:
        raise BadInput("labels to train on are not 0 and 1, some of each", hint="leave out rows without a label")
    order = np.argsort(rows)
    return rows[order], labels[order], features[order], names


def _given(
    history: History, schema: GraphSchema, done: Replay, rows: NDArray[np.int64], labels: Array, features: NDArray[np.float32],
    valid: NDArray[np.int64] | None, options: Options,
) -> Given:  # fmt: skip
    n = len(history.events)
    chosen = rows[_block(labels, options.valid_share) :] if valid is None else np.sort(np.asarray(valid, np.int64))
    fraud = np.zeros(n, np.bool_)
    fraud[rows] = labels == FRAUD
    dense_at = np.full(n, len(rows))
    dense_at[rows] = np.arange(len(rows))
    dense = torch.as_tensor(np.append(features, np.full((1, features.shape[1]), np.nan, np.float32), 0))
    train = np.setdiff1d(rows, chosen)
    valid = _some(chosen, fraud, options.goods)
    return Given(
        Shape.of(schema, features.shape[1], options.aggregation), done, train, valid, np.arange(train[0], train[-1] + 1), fraud,
        dense, dense_at,
    )  # fmt: skip


def _some(rows: NDArray[np.int64], fraud: NDArray[np.bool_], goods: int) -> NDArray[np.int64]:
    """All frauds among them, and as many of the others as choose well enough, evenly in time."""
    good = rows[~fraud[rows]]
    most = max(goods * int(fraud[rows].sum()), _LEAST_GOODS)
    return np.union1d(rows[fraud[rows]], good[np.linspace(0, len(good) - 1, min(most, len(good))).astype(np.int64)])


def _block(labels: Array, share: float) -> int:
    """Where the validation block begins; at the end where either part would have too few frauds."""
    at = int(len(labels) * (1.0 - share))
    enough = min(labels[:at].sum(), labels[at:].sum()) >= _LEAST_FRAUDS
    return at if enough else len(labels)


def _begin(given: Given, options: Options, seed: int, device: torch.device) -> Fit:
    torch.manual_seed(seed)
    net = Net(given.shape)
    version = given.replay.placed.version[given.train]
    own = given.replay.made.own[np.unique(version[version >= 0])]
    x, dense = given.replay.rows.x[given.train], given.dense[given.dense_at[given.train]].numpy()
    for name, numbers in (("x", x), ("own", own), ("dense", dense)):
        mean, scale = _statistics(numbers)
        getattr(net, f"{name}_mean").copy_(torch.as_tensor(mean))
        getattr(net, f"{name}_scale").copy_(torch.as_tensor(scale))
    net.to(device)
    return Fit(net, torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=options.decay))


def _statistics(numbers: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and 1 / deviation of each column where it is known; 0 and 1 of one that never changes."""
    known = ~np.isnan(numbers)
    count = np.maximum(known.sum(0), 1)
    filled = np.where(known, numbers, 0.0).astype(np.float64)
    mean = filled.sum(0) / count
    deviation = np.sqrt((np.where(known, filled - mean, 0.0) ** 2).sum(0) / count)
    varies = deviation > 1e-6
    scale = np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 1.0)
    return mean.astype(np.float32), scale.astype(np.float32)


def _judge(fitted: Fit, given: Given, device: torch.device) -> float:
    """Average precision of the validation block: the mean of that with its labels, as they come in, and without those. Keeps the
    weights if they are the best so far, or where there is no block."""
    if not len(given.valid):
        fitted.weights, fitted.best_epoch = _copied(fitted.net), fitted.epoch
        return float("nan")
    truth = given.fraud[given.valid]
    frozen = Hiding(after_us=float(given.replay.rows.at_us[given.valid[0]]))
    both = [margins(fitted.net, given, given.valid, device, hiding) for hiding in (_ALL_SEEN, frozen)]
    precision = float(np.mean([average_precision_score(truth, m) for m in both]))
    if precision > fitted.best:
        fitted.best, fitted.best_epoch, fitted.weights = precision, fitted.epoch, _copied(fitted.net)
    return precision


def _copied(net: Net) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in net.state_dict().items()}


def run_epoch(fitted: Fit, given: Given, options: Options, seed: int, device: torch.device) -> float:
    """One pass over the training rows; the mean loss. Of the same seed and epoch it is the same."""
    rng = np.random.default_rng([seed, fitted.epoch])
    torch.manual_seed(int(rng.integers(2**62)))
    fitted.net.train()
    fraud = given.fraud[given.train]
    frauds, goods = _drawn(given, options)
    bad, good = given.train[fraud], given.train[~fraud]
    order = rng.permutation(np.append(rng.choice(bad, frauds, replace=False), rng.choice(good, goods, replace=False)))
    weight = float(np.clip((goods / max(frauds, 1)) ** 0.5, 1.0, 10.0))
    shift = np.log(weight * (len(good) / max(goods, 1)) / (len(bad) / max(frauds, 1)))
    losses = []
    for at in range(0, len(order), options.batch):
        rows = order[at : at + options.batch]
        both = np.concatenate([rows, rng.choice(given.pool, max(len(rows) // 2, 1))])
        sample = given.sample(both, _hiding(rng, given, options), device)
        slots, fresh = fitted.net.placed(sample, fitted.net.embed(sample))
        margin = fitted.net.margin(sample, slots, fresh, options.dropout)[: len(rows)]
        truth = torch.as_tensor(given.fraud[rows], dtype=margin.dtype, device=device)
        loss = nn.functional.binary_cross_entropy_with_logits(
            margin + shift, truth, pos_weight=torch.tensor(weight, device=device)
        )
        shuffled = torch.as_tensor(rng.permutation(len(both)), device=device)
        loss = loss + options.self_supervision * fitted.net.self_supervised(sample, slots, shuffled)
        fitted.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(fitted.net.parameters(), 1.0)
        fitted.optimiser.step()
        losses.append(float(loss.detach()))
    fitted.epoch += 1
    return float(np.mean(losses))


def _drawn(given: Given, options: Options) -> tuple[int, int]:
    """Frauds and good events that an epoch draws."""
    frauds = int(given.fraud[given.train].sum())
    goods = min(len(given.train) - frauds, options.goods * max(frauds, 1))
    share = min(1.0, options.rows / (frauds + goods))
    return int(np.ceil(share * frauds)), int(np.ceil(share * goods))


def _hiding(rng: np.random.Generator, given: Given, options: Options) -> Hiding:
    """Nothing, everything, or the labels of the last hour to those of the whole time."""
    draw = rng.random()
    if draw < options.blind:
        return Hiding(span_us=np.inf)
    if draw < options.blind + options.late:
        at_us = given.replay.rows.at_us
        whole = max(float(at_us[given.pool[-1]] - at_us[0]), 2.0 * HOUR_US)
        return Hiding(span_us=float(np.exp(rng.uniform(np.log(HOUR_US), np.log(whole)))))
    return Hiding()


@torch.no_grad()
def margins(
    net: Net, given: Given, rows: NDArray[np.int64], device: torch.device, hiding: Hiding = _ALL_SEEN
) -> NDArray[np.float64]:
    """(rows,): log-odds by torch."""
    net.eval()
    out = np.empty(len(rows))
    for start in range(0, len(rows), 4096):
        some = rows[start : start + 4096]
        sample = given.sample(some, hiding, device)
        out[start : start + len(some)] = net.margin(sample, *net.placed(sample, net.embed(sample))).cpu().numpy()
    return out
