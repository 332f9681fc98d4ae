"""Our evidence of a graph network against PyTorch Geometric's explainers: the same network, the same events, the same links.

python bench/pyg_explainers.py [--seed 557] [--events 20000] [--days 15] [--epochs 12] [--explained 60] [--json PATH]

Needs torch and torch_geometric. A network is trained on the first 70 % of a simulated market (labels of all frauds and as many as twenty
times that of the rest, each a day late). Explained are the events after it that the network holds most for fraud,
with four links and more: the event's to its entities, and of these to the entities that they last met. Each link gets a weight:

- *removal*: by how much the log-odds fall without it, as our counterfactuals compute it (`gnn.removal`, compiled loops);
- *occlusion*: the same where PyG's edge mask is 0 for it alone (layers, mask and model of PyG);
- *GNNExplainer*: the mask it learns in 200 steps so that the answer is fraud, without its reward for masks of nothing but 0 and 1;
- *Saliency*: the gradient by the mask (PyG's CaptumExplainer, where captum is installed).

Told for each but the first: how much of what removal weighs the way says in the same direction (for fraud or against it: a mask over or
under one half, a sign; not of Saliency, which has none), how often its first link is that of removal, and is among the first three of
removal; Spearman's rank correlation, of the events where it is told (a network at its limit gives masks of equal values);
and for each: *fidelity+*, how much the probability falls without its first three links, and
*fidelity-*, how much it changes with these alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from about import machine
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import spearmanr
from torch_geometric.explain import CaptumExplainer, Explainer, GNNExplainer, ModelConfig
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks

from features.schema import FeatureSchema
from gnn.history import History, Labels
from gnn.intake import Intake
from gnn.masked import masked_of, net_of
from gnn.network import Gnn
from gnn.options import Options
from gnn.removal import Hood, Link, hood_of, links_of, margins_without
from gnn.replay import replay
from gnn.train import fit
from ingest.simulate.simulate import SimulationConfig, write_simulation
from ringwatch.model import BUILTIN_KINDS, DAY_US, Event
from ringwatch.settings import Settings
from ringwatch.wiring import open_decoder
from scorers.learned.model import probability

KINDS = ("user", "device", "card", "address", "ip")
_TRAINED, _GOODS, _LEAST_LINKS, _FIRST = 0.7, 20, 4, 3
F = NDArray[np.float64]


def market(seed: int, events: int, days: int) -> tuple[History, NDArray[np.bool_]]:
    """Its history, and which events are frauds."""
    schema = FeatureSchema(BUILTIN_KINDS)
    with tempfile.TemporaryDirectory() as scratch:
        write_simulation(SimulationConfig(events=events, seed=seed, days=days), Path(scratch))
        found = read_events(Path(scratch) / "events.jsonl")
        with (Path(scratch) / "truth_events.csv").open(newline="") as file:
            frauds = {row["event_id"] for row in csv.DictReader(file) if row["fraud"] == "1"}
    found.sort(key=lambda e: (e.at_us, e.event_id))
    batch = Intake(schema, KINDS).batch(found)
    fraud = np.array([e.event_id in frauds for e in found])
    rng = np.random.default_rng(seed)
    goods = rng.choice(np.flatnonzero(~fraud), min(int(_GOODS * fraud.sum()), int((~fraud).sum())), replace=False)
    row = np.sort(np.append(np.flatnonzero(fraud), goods))
    crowded = {kind.name: kind.crowded for kind in schema.kinds}
    labels = Labels.ordered(row, fraud[row].astype(np.int8), batch.at_us[row] + DAY_US)
    return History(batch, labels, KINDS, tuple(crowded[kind] for kind in KINDS)), fraud


def trained(history: History, fraud: NDArray[np.bool_], seed: int, epochs: int) -> tuple[Gnn, int]:
    """And the row from which on it saw nothing."""
    cut = int(len(history.events) * _TRAINED)
    rows = np.sort(history.labels.row[history.labels.row < cut])
    known = history.labels.known_us < history.events.at_us[cut]
    labels = Labels(history.labels.row[known], history.labels.value[known], history.labels.known_us[known])
    past = History(history.events[slice(0, cut)], labels, history.kinds, history.crowded)
    return fit(past, rows, fraud[rows].astype(np.int8), None, seed=seed, options=Options(epochs=epochs)), cut


def by_removal(gnn: Gnn, hood: Hood, links: list[Link]) -> F:
    return margins_without(gnn, hood, [set()])[0] - margins_without(gnn, hood, [{link} for link in links])


def by_occlusion(model: Any, drawn: Any) -> F:
    def said(mask: torch.Tensor) -> float:
        set_masks(model, mask, drawn.edge_index, apply_sigmoid=False)
        with torch.no_grad():
            return float(model(drawn.x, drawn.edge_index))

    masks = 1.0 - torch.eye(len(drawn.links))
    found = said(torch.ones(len(drawn.links))) - np.array([said(mask) for mask in masks])
    clear_masks(model)
    return found


def by_explainer(model: Any, drawn: Any, algorithm: Any) -> F:
    """GNNExplainer is asked what makes the answer fraud, whatever it is."""
    learns = isinstance(algorithm, GNNExplainer)
    config = ModelConfig(
        mode="binary_classification" if learns else "regression", task_level="graph", return_type="raw"
    )
    asked = Explainer(model, algorithm, "phenomenon" if learns else "model", config, edge_mask_type="object")
    told = asked(drawn.x, drawn.edge_index, **({"target": torch.ones(1, dtype=torch.long)} if learns else {}))
    return np.asarray(told.edge_mask.detach().numpy(), np.float64)


def direction(ours: F, others: F) -> float:
    """Share of what `ours` weighs that has the same sign in `others`."""
    return float(np.abs(ours[np.sign(ours) == np.sign(others)]).sum() / np.abs(ours).sum())


def fidelity(gnn: Gnn, hood: Hood, links: list[Link], weights: F) -> tuple[float, float]:
    """(+, -) of the first three."""
    first = {links[i] for i in np.argsort(-weights, kind="stable")[:_FIRST]}
    whole, without, alone = probability(margins_without(gnn, hood, [set(), first, set(links) - first]))
    return float(whole - without), float(abs(whole - alone))


def explained(gnn: Gnn, history: History, since: int, most: int) -> dict[str, list[dict[str, float]]]:
    """Way -> of each event explained how it compares."""
    done, net = replay(history, gnn.schema), net_of(gnn)
    rows = np.arange(since, len(history.events))
    prob = probability(gnn.margins(history, rows, None, done))
    found: dict[str, list[dict[str, float]]] = {}
    for i in np.argsort(-prob, kind="stable").tolist():
        row = int(rows[i])
        hood = hood_of(gnn, done, row)
        if len(links_of(hood)) < _LEAST_LINKS:
            continue
        drawn = masked_of(gnn, net, done, row).draw()
        ours = by_removal(gnn, hood, drawn.links)
        ways: dict[str, F] = {"removal": ours, "occlusion": by_occlusion(masked_of(gnn, net, done, row), drawn)}
        torch.manual_seed(row)
        learnt = GNNExplainer(epochs=200, lr=0.05)
        learnt.coeffs = {**learnt.coeffs, "edge_ent": 0.0}
        ways["GNNExplainer"] = by_explainer(masked_of(gnn, net, done, row), drawn, learnt)
        if find_spec("captum") is not None:
            ways["Saliency"] = np.abs(by_explainer(masked_of(gnn, net, done, row), drawn, CaptumExplainer("Saliency")))
        for way, weights in ways.items():
            signed = way in ("removal", "occlusion", "GNNExplainer")
            one, other = (ours, weights) if signed else (np.abs(ours), weights)
            centred = weights - 0.5 if way == "GNNExplainer" else weights
            plus, minus = fidelity(gnn, hood, drawn.links, weights)
            found.setdefault(way, []).append({
                "direction": direction(ours, centred) if signed else np.nan,
                "first": float(np.argmax(one) == np.argmax(other)),
                "in_three": float(np.argmax(other) in np.argsort(-one, kind="stable")[:_FIRST]),
                "spearman": float(spearmanr(one, other).statistic),
                "fidelity_plus": plus, "fidelity_minus": minus, "links": float(len(drawn.links)), "prob": float(prob[i]),
            })  # fmt: skip
        if len(found["removal"]) == most:
            break
    return found


def mean(values: list[float]) -> float | None:
    """Of those that are told: a mask of equal values has no ranks."""
    told = [value for value in values if value == value]
    return float(np.mean(told)) if told else None


def read_events(path: Path) -> list[Event]:
    decoder = open_decoder(Settings(), BUILTIN_KINDS, "default")
    with path.open("rb") as file:
        parsed = [decoder.decode(line) for line in file]
    return [event for event in parsed if isinstance(event, Event)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=557)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--days", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--explained", type=int, default=60)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(highlight=False, soft_wrap=True)
    history, fraud = market(given.seed, given.events, given.days)
    gnn, cut = trained(history, fraud, given.seed, given.epochs)
    console.print(
        f"trained: validation's average precision {gnn.card['valid_average_precision']}, epochs {gnn.card['epochs']}"
    )
    means = {
        way: {"events": len(rows), **{name: mean([row[name] for row in rows]) for name in rows[0]}}
        for way, rows in explained(gnn, history, cut, given.explained).items()
    }
    for way, m in means.items():
        told = ", ".join(f"{name} {value if value is None else round(value, 3)}" for name, value in m.items())
        console.print(f"{way}: {told}")
    if given.json is not None:
        given.json.write_text(
            json.dumps({"machine": machine(), **vars(given), "json": None, "ways": means}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
