"""A trained network as one file: weights by safetensors, with a JSON header that says what they are for. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn.encode import TIMES, Gather, Tell, Weights
from gnn.network import Gnn
from gnn.schema import OWN, TYPES, GraphSchema, Shape
from ringwatch.errors import BadInput, Corrupt, NotFound

FORMAT = 1
_KEY = "ringwatch.gnn"
_ANEW = "train the network anew, or load the checkpoint that belongs to this version"
Arrays = dict[str, NDArray[Any]]


def save(gnn: Gnn, path: Path) -> None:
    """Written beside and moved into place."""
    from safetensors.numpy import save_file

    beside = path.with_name(path.name + ".new")
    save_file(flat(gnn.weights), beside, metadata={_KEY: json.dumps(header_of(gnn), sort_keys=True)})
    beside.replace(path)


def load(path: Path, *, kinds: tuple[str, ...] | None = None, features: tuple[str, ...] | None = None) -> Gnn:
    """What `save` wrote. `kinds` and `features`, where given, are what the caller is going to feed: a network for others is refused
    with BadInput; a file that is damaged, or no checkpoint, with Corrupt."""
    header, arrays = _read(path)
    return gnn_of(header, arrays, str(path), kinds=kinds, features=features)


def header_of(gnn: Gnn) -> dict[str, Any]:
    """What `gnn_of` needs besides the arrays of `flat(gnn.weights)`."""
    return {
        "format": FORMAT, "schema": gnn.schema.document(), "schema_hash": gnn.schema.hash, "shape": gnn.shape.document(),
        "features": list(gnn.features), "card": gnn.card,
    }  # fmt: skip


def gnn_of(
    header: dict[str, Any],
    arrays: Arrays,
    path: str,
    *,
    kinds: tuple[str, ...] | None = None,
    features: tuple[str, ...] | None = None,
) -> Gnn:
    """A network from its header and arrays; refuses as `load` does. `path`: named in errors."""
    if header.get("format") != FORMAT:
        raise BadInput(f"{path}: a checkpoint of format {header.get('format')!r}, not {FORMAT}", hint=_ANEW)
    try:
        schema, shape = GraphSchema.of(header["schema"]), Shape(**header["shape"])
        names, card = tuple(header["features"]), dict(header["card"])
    except (KeyError, TypeError) as error:
        raise Corrupt(f"{path}: the header lacks or cannot use {error}", hint=_ANEW) from error
    if schema.hash != (told := header.get("schema_hash")):
        raise BadInput(f"{path}: trained on inputs {told}, this version computes {schema.hash}", hint=_ANEW)
    if kinds is not None and kinds != schema.kinds:
        raise BadInput(f"{path}: a network for {', '.join(schema.kinds)}, not for {', '.join(kinds)}", hint=_ANEW)
    if features is not None and features != names:
        odd = sorted(set(features) ^ set(names))
        what = f"{', '.join(odd[:5])} differ" if odd else "they are in another order"
        raise BadInput(f"{path}: trained with {len(names)} features, given {len(features)}: {what}", hint=_ANEW)
    if shape.kinds != len(schema.kinds) or shape.inputs != schema.inputs or shape.dense != len(names):
        raise Corrupt(f"{path}: the weights' shape is not that of its graph schema", hint=_ANEW)
    return Gnn(schema, shape, weights_from(arrays, shape, path), names, card)


def _read(path: Path) -> tuple[dict[str, Any], Arrays]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise NotFound(f"no checkpoint at {path}", hint="give the file that training wrote")
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise Corrupt(
            f"{path}: no checkpoint of a graph network: {error}", hint="restore the file, or train anew"
        ) from error


def flat(weights: tuple[Any, ...], prefix: str = "") -> Arrays:
    """Arrays by name, those of parts as `part.name`."""
    named: Mapping[str, Any] = weights._asdict()  # type: ignore[attr-defined]
    out: Arrays = {}
    for name, value in named.items():
        out |= flat(value, f"{prefix}{name}.") if isinstance(value, tuple) else {prefix + name: value}
    return out


def weights_from(arrays: Arrays, shape: Shape, place: str) -> Weights:
    """From what `flat` gave; Corrupt if one is missing, of another shape, or not finite."""
    wanted = flat(shapes_of(shape))
    if unlike := sorted(set(wanted) ^ set(arrays)):
        raise Corrupt(f"{place}: {', '.join(unlike[:5])} missing or unknown", hint=_ANEW)
    for name, size in wanted.items():
        array = arrays[name]
        if array.shape != tuple(size) or array.dtype != np.float32:
            raise Corrupt(
                f"{place}: {name} is {array.dtype} of {array.shape}, not float32 of {tuple(size)}", hint=_ANEW
            )
        if not np.isfinite(array).all():
            raise Corrupt(f"{place}: {name} is not finite", hint="restore the file, or train anew")

    def take(kind: Any, prefix: str) -> Any:
        parts = {"event": Tell, "told": Tell, "gather_events": Gather, "gather_told": Gather, "gather_met": Gather}
        values = [
            take(parts[f], f"{f}.") if f in parts and not prefix else np.ascontiguousarray(arrays[prefix + f])
            for f in kind._fields
        ]
        return kind(*values)

    weights: Weights = take(Weights, "")
    return weights


def shapes_of(s: Shape) -> Any:
    """`Weights` with the shape of each array in its place."""
    k, w, g = s.kinds, s.width, s.gathered

    def shape(*size: int) -> Any:
        return np.array(size)

    def tell(positions: int) -> Tell:
        return Tell(*(shape(*n) for n in ((k, s.inputs, w), (k, w), (k, TIMES, w), (k, w), (3, w), (positions, w))))

    def gather(inputs: int) -> Gather:
        query = (shape(1, 1, 1), shape(1, 1)) if s.aggregation == "sage" else (shape(k, inputs, w), shape(k, w))
        key = (shape(w, w), shape(w)) if s.aggregation == "hgt" else (shape(1, 1), shape(1))
        return Gather(*query, shape(w if s.aggregation == "gatv2" else 1), *key)

    return Weights(
        shape(s.inputs), shape(s.inputs), shape(len(OWN)), shape(len(OWN)), shape(s.dense), shape(s.dense), shape(TYPES, w),
        shape(4), shape(4), tell(s.events), tell(s.labelled), gather(len(OWN)), gather(len(OWN)), gather(w),
        shape(k, len(OWN) + 2 * g, w), shape(k, w), shape(k * k, w, w), shape(k * k, w), shape(k * k, TIMES, w),
        shape(k * k, w), shape(k, w + g, w), shape(k, w), shape(k, s.inputs + w, w), shape(k, w),
        shape(s.head_inputs, s.hidden), shape(s.hidden), shape(s.hidden, w), shape(w), shape(w), shape(1),
    )  # fmt: skip
