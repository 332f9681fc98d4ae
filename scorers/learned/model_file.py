"""A learned model as one file: arrays by safetensors, with a JSON header that says what it looks at and what it was made of. Nothing is
unpickled; what cannot be evaluated safely is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gnn.checkpoint import flat, gnn_of, header_of
from ringwatch.errors import BadInput, Corrupt, NotFound
from scorers.learned.model import LearnedModel, View
from scorers.learned.trees import Trees

FORMAT = 3
_KEY = "ringwatch.model"
_ALONE = ("value", "base")
"""What trees that stand alone have of their own."""
_ANEW = "train it anew with this version and these kinds"


def save(model: LearnedModel, path: Path, *, schema: str, card: Mapping[str, Any]) -> None:
    """Written beside and moved into place. `schema`: hash of the feature schema; `card`: what it was made of, for people and programs."""
    from safetensors.numpy import save_file

    gnn = model.network
    header = {
        "format": FORMAT, "schema": schema, "told": model.told.names, "untold": model.untold.names,
        "patience_s": None if np.isinf(model.patience_s) else model.patience_s, "card": dict(card),
        "network": None if gnn is None else header_of(gnn),
        "rule": {"told": model.told.rule, "untold": model.untold.rule},
        "network_weights": {"told": model.told.network, "untold": model.untold.network},
        "network_usual": {"told": model.told.network_usual, "untold": model.untold.network_usual},
    }  # fmt: skip
    views = {"told": model.told, "untold": model.untold}
    arrays = {f"{view}.{name}": a for view, of in views.items() for name, a in of.trees.arrays().items()}
    arrays |= {
        f"{view}_alone.{name}": getattr(of.alone, name)
        for view, of in views.items() if of.alone is not None for name in _ALONE
    }  # fmt: skip
    if gnn is not None:
        arrays |= {f"network.{name}": a for name, a in flat(gnn.weights).items()}
    beside = path.with_name(path.name + ".new")
    save_file(
        {name: np.ascontiguousarray(a) for name, a in arrays.items()}, beside, metadata={_KEY: json.dumps(header)}
    )
    beside.replace(path)


def load(path: Path, *, schema: str) -> tuple[LearnedModel, dict[str, Any]]:
    """What `save` wrote, and its card. Raises BadInput for another feature schema or for a graph network on other inputs, Corrupt for
    what is damaged, NotFound."""
    header, arrays = _read(path)
    if header.get("format") != FORMAT:
        raise BadInput(f"{path}: a model of format {header.get('format')!r}, not {FORMAT}", hint=_ANEW)
    if (of := header.get("schema")) != schema:
        raise BadInput(f"{path}: trained on feature schema {of}, this process has {schema}", hint=_ANEW)
    try:
        patience_s, card = header["patience_s"], dict(header["card"])
        weights, of_network, rule = header["network_weights"], header["network"], dict(header["rule"])
        usual = dict(header.get("network_usual", {}))
        told, untold = (
            replace(
                _view(path, name, header[name], arrays, weights[name]),
                rule=bool(rule[name]), network_usual=_finite(path, name, usual.get(name, 0.0)),
            )
            for name in ("told", "untold")
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise Corrupt(f"{path}: the header lacks or cannot use {error}", hint=_ANEW) from None
    if not (patience_s is None or (isinstance(patience_s, int | float) and patience_s >= 0)):
        raise Corrupt(f"{path}: patience_s is {patience_s!r}", hint=_ANEW)
    if of_network is None and (told.network or untold.network):
        raise Corrupt(f"{path}: weights of a network without the network", hint=_ANEW)
    network = None if of_network is None else gnn_of(of_network, _part(arrays, "network"), str(path))
    return LearnedModel(told, untold, np.inf if patience_s is None else float(patience_s), network), card


def _part(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(f"{prefix}."): a for name, a in arrays.items() if name.startswith(f"{prefix}.")}


def _view(path: Path, view: str, names: list[str], arrays: Mapping[str, Any], network: float) -> View:
    if not (isinstance(network, int | float) and 0.0 <= network < np.inf):
        raise Corrupt(f"{path}: {view}: the network's weight is {network!r}", hint=_ANEW)
    try:
        trees = Trees.of(_part(arrays, view))
    except Corrupt as error:
        raise Corrupt(f"{path}: {view}: {error.message}", hint=_ANEW) from None
    if trees.columns.max() >= len(names):
        raise Corrupt(f"{path}: {view}: trees look at input {trees.columns.max()} of {len(names)}", hint=_ANEW)
    part = _part(arrays, f"{view}_alone")
    if network and set(part) != set(_ALONE):
        raise Corrupt(f"{path}: {view}: nothing answers where its network is not asked", hint=_ANEW)
    try:
        alone = Trees.of({**trees.arrays(), **part}) if network else None
    except Corrupt as error:
        raise Corrupt(f"{path}: {view}, alone: {error.message}", hint=_ANEW) from None
    return View(tuple(names), trees, float(network), alone)


def _finite(path: Path, view: str, usual: object) -> float:
    if not (isinstance(usual, int | float) and np.isfinite(usual)):
        raise Corrupt(f"{path}: {view}: the network's mean is {usual!r}", hint=_ANEW)
    return float(usual)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise NotFound(f"no model at {path}", hint="give the file that training wrote")
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise Corrupt(f"{path}: no learned model: {error}", hint="restore the file, or train anew") from None
