"""Pictures of what a model comes to on held-out rows, as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from evaluate.holdout import Bin, Holdout

_MODEL, _RULE, _GRID = "#1f5fa8", "#b0762b", "#d9d9d9"
_SHOWN = 20
_DPI = 130


def draw(held: Holdout, importance: Mapping[str, float], folder: Path) -> None:
    """`precision-recall.png`, `calibration.png` and `importance.png`, into a folder that is there."""
    _precision_recall(held).savefig(folder / "precision-recall.png", dpi=_DPI)
    _calibration(held).savefig(folder / "calibration.png", dpi=_DPI)
    _importance(importance).savefig(folder / "importance.png", dpi=_DPI)


def _precision_recall(held: Holdout) -> Figure:
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    for name, score, color, known in (
        ("model", held.score, _MODEL, held.metrics),
        ("robust rule", held.rule_score, _RULE, held.rule),
    ):
        precision, recall, _ = precision_recall_curve(held.fraud, score)
        words = f"{name}, average precision {known['average_precision']:.3f}"
        axes.step(recall, precision, where="post", color=color, label=words, linewidth=1.8)
    share = held.frauds / held.rows
    axes.axhline(share, color="grey", linestyle=":", label=f"chance: {share:.1%} are fraud")
    axes.set(xlabel="recall: share of the frauds found", ylabel="precision: share of fraud among what is found")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), title=f"{held.rows:,} held-out labels, {held.frauds:,} fraud")
    axes.grid(color=_GRID, linewidth=0.6)
    axes.legend(loc="best", frameon=True)
    return figure


def _calibration(held: Holdout) -> Figure:
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins = held.reliability
    upper.plot((0, 1), (0, 1), color="grey", linestyle=":", label="said is what was")
    was = [b.was for b in bins]
    least, most = zip(*(_interval(b) for b in bins), strict=True)
    upper.errorbar(
        [b.said for b in bins], was, yerr=(np.subtract(was, least), np.subtract(most, was)), color=_MODEL, marker="o",
        markersize=5, capsize=2, linestyle="none", label=f"{len(bins)} bins of like size, 95 % intervals",
    )  # fmt: skip
    words = f"Brier {held.metrics['brier']:.4f}, expected calibration error {held.metrics['ece']:.4f}"
    upper.set(ylabel="share of fraud", ylim=(-0.02, 1.02), title=words)
    upper.legend(loc="upper left")
    lower.hist(held.prob[~held.fraud], bins=40, range=(0, 1), color=_GRID, label="good")
    lower.hist(held.prob[held.fraud], bins=40, range=(0, 1), color=_RULE, histtype="step", linewidth=1.5, label="fraud")
    lower.set(xlabel="probability of fraud, said by the model", ylabel="rows", yscale="log", xlim=(-0.02, 1.02))
    lower.legend(loc="upper center", ncols=2)
    for axes in (upper, lower):
        axes.grid(color=_GRID, linewidth=0.6)
    return figure


def _interval(b: Bin) -> tuple[float, float]:
    """Wilson's, 95 %, of the share of fraud in a bin."""
    z2, n = 1.96**2, b.rows
    middle, half = (b.was + z2 / (2 * n)) / (1 + z2 / n), (z2 * (b.was * (1 - b.was) / n + z2 / (4 * n * n))) ** 0.5
    return min(b.was, middle - half / (1 + z2 / n)), max(b.was, middle + half / (1 + z2 / n))


def _importance(importance: Mapping[str, float]) -> Figure:
    strongest = list(importance.items())[:_SHOWN][::-1]
    figure = Figure(figsize=(7.2, 1.2 + 0.26 * len(strongest)), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in strongest], [value for _, value in strongest], color=_MODEL)
    axes.set(xlabel="what it moves the log-odds by, on the mean (TreeSHAP)", title="Strongest inputs")
    axes.grid(color=_GRID, linewidth=0.6, axis="x")
    axes.set_axisbelow(True)
    axes.margins(y=0.01)
    return figure
