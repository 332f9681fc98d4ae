"""What was found of what was planted: decisions held against the truth that the simulator wrote."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ringwatch.model import Level


@dataclass(slots=True)
class Pattern:
    """One fraud pattern: its campaigns and events, and those with an alert for now (HIGH or CRITICAL)."""

    campaigns: set[str] = field(default_factory=set)
    found: set[str] = field(default_factory=set)
    events: int = 0
    flagged: int = 0


@dataclass(slots=True)
class Found:
    patterns: dict[str, Pattern]
    flagged: int
    """Events at HIGH or CRITICAL."""
    flagged_fraud: int
    innocent_share: float
    """Innocent events at HIGH or CRITICAL over all innocent events."""


def found(truth: Path, levels: Iterable[tuple[str, int]]) -> Found:
    """`truth` is the simulator's truth_events.csv; `levels` are (event_id, level) of the decisions."""
    urgent = {event_id for event_id, level in levels if level >= Level.HIGH}
    patterns: dict[str, Pattern] = {}
    counts = Counter[str]()
    with truth.open(newline="") as file:
        for row in csv.DictReader(file):
            hit = row["event_id"] in urgent
            if row["fraud"] != "1":
                counts["innocent"] += 1
                counts["innocent_hit"] += hit
                continue
            pattern = patterns.setdefault(row["pattern"], Pattern())
            pattern.campaigns.add(row["campaign"])
            pattern.events += 1
            if hit:
                pattern.flagged += 1
                pattern.found.add(row["campaign"])
    fraud = sum(p.flagged for p in patterns.values())
    share = counts["innocent_hit"] / max(1, counts["innocent"])
    return Found(dict(sorted(patterns.items())), counts["innocent_hit"] + fraud, fraud, share)
