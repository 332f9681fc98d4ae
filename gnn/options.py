"""How a network is trained. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """How to train; the same for every data set."""

    aggregation: str = "sage"
    epochs: int = 30
    """At most; without a validation block exactly so many."""
    patience: int = 4
    """Epochs that are no better than the best, after which training ends."""
    rows: int = 20_000
    """That an epoch draws, at most."""
    batch: int = 256
    rate: float = 0.003
    decay: float = 1e-4
    dropout: float = 0.1
    self_supervision: float = 0.2
    """Weight of the self-supervised loss."""
    valid_share: float = 0.15
    """Of the training rows, the last in time: they choose the epoch."""
    blind: float = 0.15
    """Share of the batches in which no label is seen."""
    late: float = 0.35
    """Share of the batches in which the labels of a span before each mark are not."""
    goods: int = 20
    """Good events for each fraud, at most, that an epoch draws, and that choose the epoch."""


USUAL = Options()
"""For every data set."""
