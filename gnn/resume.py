"""A training under way, kept in a file after each epoch: weights, the best ones so far, the optimiser's moments. No pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gnn.net import Net
from ringwatch.errors import BadInput, Corrupt

_KEY = "ringwatch.training"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(slots=True)
class Fit:
    """A network in training."""

    net: Net
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    """Epochs done."""
    best: float = -1.0
    best_epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    """Of the best epoch."""


def store(fitted: Fit, path: Path, key: dict[str, Any]) -> None:
    """`key`: what the training is of; `resume` refuses another."""
    tensors = {
        f"now.{name}": value.detach().cpu().contiguous().clone() for name, value in fitted.net.state_dict().items()
    }
    tensors |= {f"best.{name}": value for name, value in fitted.weights.items()}
    for name, parameter in fitted.net.named_parameters():
        for moment in _MOMENTS:
            if moment in (kept := fitted.optimiser.state.get(parameter, {})):
                tensors[f"{moment}.{name}"] = kept[moment].detach().cpu().contiguous().clone()
    header = {"key": key, "epoch": fitted.epoch, "best": fitted.best, "best_epoch": fitted.best_epoch}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    save_file(tensors, beside, metadata={_KEY: json.dumps(header, sort_keys=True)})
    beside.replace(path)


def resume(fitted: Fit, path: Path, key: dict[str, Any]) -> None:
    """Goes on where `store` left it; nothing where there is no file."""
    if not path.exists():
        return
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise Corrupt(f"{path}: no training under way: {error}", hint="delete it to begin anew") from error
    if unlike := [name for name in key if header["key"].get(name) != json.loads(json.dumps(key[name]))]:
        raise BadInput(
            f"{path} is of a training with another {', '.join(unlike)}", hint="give another file, or delete it"
        )
    fitted.epoch, fitted.best, fitted.best_epoch = header["epoch"], header["best"], header["best_epoch"]
    fitted.net.load_state_dict(_part(tensors, "now."))
    fitted.weights = _part(tensors, "best.")
    for name, parameter in fitted.net.named_parameters():
        kept = {m: tensors[f"{m}.{name}"] for m in _MOMENTS if f"{m}.{name}" in tensors}
        if kept:
            fitted.optimiser.state[parameter] = {
                m: v.to(parameter.device) if m != "step" else v for m, v in kept.items()
            }


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
