"""A learned model as one file: arrays by safetensors, with a JSON header that says what it looks at and what it was made of. Nothing is
unpickled; what cannot be evaluated safely is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ringwatch.errors import BadInput, Corrupt, NotFound
from scorers.learned.model import LearnedModel, View
from scorers.learned.trees import Trees

FORMAT = 1
_KEY = "ringwatch.model"
_ANEW = "train it anew with this version and these kinds"


def save(model: LearnedModel, path: Path, *, schema: str, card: Mapping[str, Any]) -> None:
    """Written beside and moved into place. `schema`: hash of the feature schema; `card`: what it was made of, for people and programs."""
    from safetensors.numpy import save_file

    header = {
        "format": FORMAT, "schema": schema, "told": model.told.names, "untold": model.untold.names,
        "patience_s": None if np.isinf(model.patience_s) else model.patience_s, "card": dict(card),
    }  # fmt: skip
    views = {"told": model.told, "untold": model.untold}
    arrays = {f"{view}.{name}": a for view, of in views.items() for name, a in of.trees.arrays().items()}
    beside = path.with_name(path.name + ".new")
    save_file(
        {name: np.ascontiguousarray(a) for name, a in arrays.items()}, beside, metadata={_KEY: json.dumps(header)}
    )
    beside.replace(path)


def load(path: Path, *, schema: str) -> tuple[LearnedModel, dict[str, Any]]:
    """What `save` wrote, and its card. Raises BadInput for another feature schema, Corrupt for what is damaged, NotFound."""
    header, arrays = _read(path)
    if header.get("format") != FORMAT:
        raise BadInput(f"{path}: a model of format {header.get('format')!r}, not {FORMAT}", hint=_ANEW)
    if (of := header.get("schema")) != schema:
        raise BadInput(f"{path}: trained on feature schema {of}, this process has {schema}", hint=_ANEW)
    try:
        patience_s, card = header["patience_s"], dict(header["card"])
        told, untold = (_view(path, name, header[name], arrays) for name in ("told", "untold"))
    except (KeyError, TypeError) as error:
        raise Corrupt(f"{path}: the header lacks or cannot use {error}", hint=_ANEW) from None
    if not (patience_s is None or (isinstance(patience_s, int | float) and patience_s >= 0)):
        raise Corrupt(f"{path}: patience_s is {patience_s!r}", hint=_ANEW)
    return LearnedModel(told, untold, np.inf if patience_s is None else float(patience_s)), card


def _view(path: Path, view: str, names: list[str], arrays: Mapping[str, Any]) -> View:
    mine = {name.removeprefix(f"{view}."): a for name, a in arrays.items() if name.startswith(f"{view}.")}
    try:
        trees = Trees.of(mine)
    except Corrupt as error:
        raise Corrupt(f"{path}: {view}: {error.message}", hint=_ANEW) from None
    if trees.columns.max() >= len(names):
        raise Corrupt(f"{path}: {view}: trees look at input {trees.columns.max()} of {len(names)}", hint=_ANEW)
    return View(tuple(names), trees)


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
