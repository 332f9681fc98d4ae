"""Alerts asked for and got, and what was found, while the stream changes: a budget learned on the stream against thresholds that stand still.

Three simulated markets one after the other, as one stream: as usual, three times the traffic, five times the fraud. Each way to set the
threshold decides the same scored events; alerts are grouped as in the product. The first days teach and are not counted.

python bench/alert_budgets.py [--budget 8] [--seeds 41 42 43] [--json PATH]
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from about import machine
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from features.columns import ResolvedLabel
from features.schema import FeatureSchema
from ingest.simulate.simulate import SimulationConfig, write_simulation
from ingest.stream import Numbered
from ledger.alerting import AlertGrouper
from ringwatch.model import BUILTIN_KINDS, DAY_US, HOUR_US, Event, Label, Level
from ringwatch.settings import Settings
from ringwatch.wiring import open_source, open_stream
from scorers.alert_levels import AlertLevels
from scorers.alerting import parse_alerting
from scorers.decision import Decisions
from scorers.policy import Policy, TenantPolicy
from scorers.thresholds import for_budget

LEVELS = {"MEDIUM": 0.5, "HIGH": 0.6, "CRITICAL": 0.85}
LEAST = 0.25
"""Events that score less are no alert whatever the way."""
WARM_DAYS = 7


@dataclass(frozen=True)
class Span:
    name: str
    events: int
    days: int
    fraud_share: float


SPANS = (
    Span("as usual", 40_000, 20, 0.01),
    Span("three times the traffic", 120_000, 20, 0.01),
    Span("five times the fraud", 60_000, 10, 0.05),
)
Frauds = dict[str, tuple[int, str]]
"""Fraudulent event -> its time and campaign."""


def record(seeds: list[int], folder: Path) -> tuple[Decisions, Frauds]:
    """Every event that could be an alert, decided by the product in order, and all frauds."""
    (folder / "policy.yaml").write_text(
        f"default: {{levels: {{MEDIUM: {LEAST}}}}}\n"
    )  # so that all of them are explained
    settings = Settings(data_dir=folder / "none", policy=folder / "policy.yaml")
    stream = open_stream(settings, FeatureSchema(BUILTIN_KINDS))
    start, seq, kept = datetime(2026, 1, 1, tzinfo=UTC), 0, []
    frauds: Frauds = {}
    for seed, span in zip(seeds, SPANS, strict=True):
        market = folder / f"market-{seed}"
        config = SimulationConfig(
            events=span.events, seed=seed, days=span.days, start=start, fraud_share=span.fraud_share
        )
        write_simulation(config, market)
        start += timedelta(days=span.days)
        with (market / "truth_events.csv").open() as file:
            campaigns = {row["event_id"]: row["campaign"] for row in csv.DictReader(file) if row["fraud"] == "1"}
        entities: dict[str, dict[str, str]] = {}
        for chunk in open_source(settings, [str(market / "events.jsonl")], None, BUILTIN_KINDS).read():
            items: list[Numbered] = []
            for item in chunk.items:
                if isinstance(item, Event):
                    entities[item.event_id] = item.entities
                    if item.event_id in campaigns:
                        frauds[item.event_id] = item.at_us, f"{seed}-{campaigns[item.event_id]}"
                    items.append((seq, item))
                elif isinstance(item, Label):
                    items.append((seq, ResolvedLabel(item, entities[item.target_id])))
                seq += 1
            made = stream.feed(items)
            kept += [made.select(i, i + 1) for i in np.flatnonzero(made.level > 0).tolist()]
    return Decisions.concatenate([replace(d, features=d.features.copy()) for d in kept]), frauds


def level_at(made: Decisions, thresholds: list[float]) -> NDArray[np.uint8]:
    level = np.searchsorted(thresholds, made.score, side="right").astype(np.uint8)
    named = np.array([bool(p) for p in made.patterns])
    return np.where(named, np.maximum(level, np.uint8(Level.HIGH)), level)


def hours(made: Decisions) -> Iterator[Decisions]:
    hour = np.maximum.accumulate(np.array([e.at_us for e in made.events])) // HOUR_US
    cuts = [0, *(np.flatnonzero(np.diff(hour)) + 1).tolist(), len(made)]
    for start, stop in pairwise(cuts):
        yield made.select(start, stop)


def fixed(made: Decisions) -> NDArray[np.uint8]:
    return level_at(made, list(LEVELS.values()))


def _best_of_day(made: Decisions, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The score of each account's day; 1 where a pattern was named, which is an alert anyhow."""
    best: dict[tuple[str, int], float] = {}
    for i in np.flatnonzero(rows).tolist():
        event = made.events[i]
        key = event.user or event.event_id, event.at_us // DAY_US
        best[key] = max(best.get(key, 0.0), 1.0 if made.patterns[i] else float(made.score[i]))
    return np.array(list(best.values()))


def _within(made: Decisions, rows: NDArray[np.bool_], days: float, budget: float) -> float:
    best = _best_of_day(made, rows)
    return min(for_budget(best, np.ones(len(best)), days, budget).value, LEVELS["CRITICAL"])


def _lifted(threshold: float) -> list[float]:
    return [threshold, *(max(LEVELS[name], threshold) for name in ("HIGH", "CRITICAL"))]


def standing(made: Decisions, budget: float) -> NDArray[np.uint8]:
    """The quantile of the first days, for good."""
    day = _days(made)
    return level_at(made, _lifted(_within(made, day < WARM_DAYS, WARM_DAYS, budget)))


def quantile(made: Decisions, budget: float) -> NDArray[np.uint8]:
    """The quantile of the last seven days, each midnight."""
    day, level = _days(made), fixed(made)
    for today in range(WARM_DAYS, int(day.max()) + 1):
        threshold = _within(made, (day < today) & (day >= today - 7), 7, budget)
        rows = day == today
        level[rows] = level_at(made, _lifted(threshold))[rows]
    return level


def learned(made: Decisions, budget: float) -> NDArray[np.uint8]:
    """The product's: `alerting: {budget: {alerts_per_day: N}}`."""
    alerting = parse_alerting("alerting", {"budget": {"alerts_per_day": budget}}, LEVELS)
    levels = AlertLevels(Policy(TenantPolicy(levels=LEVELS, alerting=alerting)))
    found = []
    for piece in hours(made):
        levels.advance(piece.events[0].at_us)
        now = levels.in_force("default")
        level = level_at(piece, now.policy.thresholds())
        versions = [msgspec.structs.replace(piece.versions[0], policy=now.version)] * len(piece)
        levels.learn([], replace(piece, level=level, versions=versions))
        found.append(level)
    return np.concatenate(found)


def _days(made: Decisions) -> NDArray[np.int64]:
    day = np.maximum.accumulate(np.array([e.at_us for e in made.events])) // DAY_US
    return day - day.min()


def figures(made: Decisions, level: NDArray[np.uint8], frauds: Frauds, budget: float) -> list[dict[str, float]]:
    alerts, pairs = AlertGrouper(DAY_US, 30 * DAY_US).add(replace(made, level=level))
    first_day = int(made.events[0].at_us // DAY_US)
    fraudulent = {alert for alert, event in pairs if event in frauds}
    alerted = {event for _, event in pairs}
    rows, begin = [], 0
    for span in SPANS:
        end, begin_counted = begin + span.days, max(begin, WARM_DAYS)
        mine = [a for a in alerts if begin_counted <= a.first_at_us // DAY_US - first_day < end]
        days = [int(a.first_at_us // DAY_US) - first_day - begin_counted for a in mine]
        per_day = np.bincount(days, minlength=end - begin_counted)
        there = {id_: found for id_, found in frauds.items() if begin_counted <= found[0] // DAY_US - first_day < end}
        known = {campaign for _, campaign in there.values()}
        hit = {campaign for id_, (_, campaign) in there.items() if id_ in alerted}
        rows.append({
            "alerts_per_day": float(per_day.mean()), "worst_day": float(per_day.max()), "days": end - begin_counted,
            "days_over": int((per_day > 1.25 * budget).sum()),
            "right": float(np.mean([a.alert_id in fraudulent for a in mine])) if mine else float("nan"),
            "frauds_alerted": len(there.keys() & alerted) / max(1, len(there)),
            "campaigns_seen": len(hit) / max(1, len(known)), "campaigns": len(known),
        })  # fmt: skip
        begin = end
    return rows


def _told(r: dict[str, float]) -> str:
    got = f"{r['alerts_per_day']:.1f} ({r['worst_day']:.0f}), {r['days_over']} of {r['days']}"
    return f"{got}, {r['right']:.0%}, {r['frauds_alerted']:.0%}, {r['campaigns_seen']:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, nargs="+", default=[8.0])
    parser.add_argument("--seeds", type=int, nargs=len(SPANS), default=[41, 42, 43])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made, frauds = record(args.seeds, Path(scratch))
    results: dict[str, Any] = {}
    console = Console(highlight=False, width=170)
    for budget in args.budget:
        ways = {"fixed levels": fixed(made), "threshold of the first week": standing(made, budget),
                "quantile of the last week": quantile(made, budget), "learned on the stream": learned(made, budget)}  # fmt: skip
        table = Table(
            "way",
            *(span.name for span in SPANS),
            title=f"budget: {budget:g} alerts a day; got (worst day), days over 1.25 x, right, frauds alerted, campaigns seen",
        )
        of_budget = results[f"{budget:g}"] = {}
        for name, level in ways.items():
            rows = of_budget[name] = figures(made, level, frauds, budget)
            table.add_row(name, *map(_told, rows))
        console.print(table)
    if args.json:
        content = {"machine": machine(), "seeds": args.seeds, "spans": [vars(s) for s in SPANS], "budgets": results}
        args.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
