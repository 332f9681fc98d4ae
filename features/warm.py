"""Compile the kernel now, so that the first batch does not wait for it: `python -m features.warm`."""

from __future__ import annotations

import time

from features.columns import ResolvedLabel
from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ringwatch.model import Event, Label


def warm() -> float:
    """Seconds it took; well under one where the compiled code was there."""
    started = time.perf_counter()
    event = Event("warm", "payment", 1_700_000_000_000_000, {"user": "u", "device": "d"}, amount_minor=100)
    label = ResolvedLabel(Label("event", "warm", "fraud", event.at_us), event.entities)
    MemoryState(FeatureSchema(), max_entities=1000).apply([event, label])
    return time.perf_counter() - started


if __name__ == "__main__":
    print(f"the kernel is compiled ({warm():.1f} s)")
